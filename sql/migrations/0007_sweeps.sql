-- What an operator needs to see and to trace: when each sweep last ran, and since when a topic is subscribed.

create table sweeps (
  name text primary key,
  last_run_at timestamptz not null default clock_timestamp(),
  last_found bigint not null default 0,
  runs bigint not null default 1,
  found bigint not null default 0,
  constraint sweeps_counts_are_not_negative check (last_found >= 0 and found >= 0 and runs > 0)
) with (fillfactor = 50);
comment on table sweeps is 'One row per sweep: when it last ran and how much it found. Operational, never evidence.';

-- An event is owed to the handlers that were subscribed when it happened, not to those that came later.
alter table subscriptions add column subscribed_at timestamptz not null default clock_timestamp();
comment on column subscriptions.subscribed_at is 'Events from here on are owed to this handler.';

-- The trace of a payment finds its webhooks and their audit entries by index.
create index webhooks_by_payment on webhooks (payment_id) where payment_id is not null;
create index webhooks_by_event_id on webhooks (provider_event_id);
create index provider_transactions_by_source on provider_transactions (source_ref) where source_ref is not null;
create index events_by_webhook on events (merchant_id, webhook_id) where webhook_id is not null;
create index audit_log_by_entity on audit_log (merchant_id, entity_type, entity_id) where payment_id is null;
