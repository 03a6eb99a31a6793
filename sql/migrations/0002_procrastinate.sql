-- postbox: search-path procrastinate
-- Procrastinate's own schema, taken from the installed package; upgrades are further migrations that include its files.
-- postbox: include procrastinate/sql/schema.sql

-- NOTIFY serialises commits over the whole cluster: workers are woken from outside the transaction instead.
alter table procrastinate.procrastinate_jobs disable trigger procrastinate_jobs_notify_queue_job_inserted_v1;
-- Job history is no audit source: deliveries and the audit log are. A row per job state change buys nothing.
alter table procrastinate.procrastinate_jobs disable trigger procrastinate_trigger_status_events_insert_v1;
alter table procrastinate.procrastinate_jobs disable trigger procrastinate_trigger_status_events_update_v1;
alter table procrastinate.procrastinate_jobs disable trigger procrastinate_trigger_scheduled_events_v1;

alter table procrastinate.procrastinate_jobs set (
  fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000
);
