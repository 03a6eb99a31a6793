-- How soon somebody says that they look after a discrepancy, by how bad it is; and who was told that nobody did.

create table discrepancy_severities (
  severity text primary key,
  acknowledge_within interval,
  constraint discrepancy_severities_severity_is_known check (severity in ('critical', 'high', 'medium', 'low')),
  constraint discrepancy_severities_wait_is_positive check (acknowledge_within > interval '0')
);
comment on table discrepancy_severities is
  'How long a discrepancy of each severity may be open before somebody looks after it; null: it may wait until it is to be fixed.';
insert into discrepancy_severities (severity, acknowledge_within) values
  ('critical', '1 hour'), ('high', '4 hours'), ('medium', '1 day'), ('low', null);

alter table discrepancies add column unacknowledged_at timestamptz;
comment on column discrepancies.unacknowledged_at is 'When it was told, once, that nobody had acknowledged it in time.';
-- the clock asks for them every few seconds, whatever else is open; a table of what went wrong is built upon in no time
-- squawk-ignore require-concurrent-index-creation
create index discrepancies_to_acknowledge on discrepancies (first_seen_at)
  where status = 'open' and unacknowledged_at is null and severity <> 'low';

insert into topics (topic, merchant_visible) values ('discrepancy.unacknowledged', false);
