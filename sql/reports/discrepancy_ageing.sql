-- Books that did not meet: how many of which kind for how long, and who closed them.
drop view if exists report_v1.discrepancy_ageing;
create view report_v1.discrepancy_ageing with (security_barrier = true) as
select case when d.closed_at is null then 'open' else 'closed' end as status, d.type, d.severity,
  discrepancy_bucket(coalesce(d.closed_at, clock_timestamp()) - d.first_seen_at) as bucket, d.currency, d.resolved_by as resolver,
  count(*) as discrepancies, sum(abs(d.delta))::bigint as delta,
  count(*) filter (where coalesce(d.closed_at, clock_timestamp()) > d.sla_due_at) as breached,
  min(d.first_seen_at) as oldest_at
from discrepancies d
group by 1, 2, 3, 4, 5, 6;

comment on view report_v1.discrepancy_ageing is
  'One row per kind, age and resolver of discrepancies, open ones by their age now and closed ones by how long they were open.';
comment on column report_v1.discrepancy_ageing.status is 'open or closed.';
comment on column report_v1.discrepancy_ageing.type is 'What did not meet.';
comment on column report_v1.discrepancy_ageing.severity is 'critical, high, medium or low.';
comment on column report_v1.discrepancy_ageing.bucket is '0-1 d, 1-3 d, 3-7 d, 7-30 d or over 30 d.';
comment on column report_v1.discrepancy_ageing.currency is 'ISO 4217, lower case; null where no amounts are compared.';
comment on column report_v1.discrepancy_ageing.resolver is 'Who closed them: the reconciler by rule, or a person; null while open.';
comment on column report_v1.discrepancy_ageing.discrepancies is 'How many.';
comment on column report_v1.discrepancy_ageing.delta is 'Sum of the differences without their signs, in minor units.';
comment on column report_v1.discrepancy_ageing.breached is 'Of these, open past their deadline, or closed after it.';
comment on column report_v1.discrepancy_ageing.oldest_at is 'When the oldest of them was found.';
