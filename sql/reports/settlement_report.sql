-- What providers paid out to our bank, and whether it is the sum of what they said it is made of.
drop view if exists report_v1.settlement_report;
create view report_v1.settlement_report with (security_barrier = true) as
select o.provider, o.account, o.ref, o.status, o.currency, o.amount as expected,
  case when o.lines_read_at is not null then s.net end as actual, case when o.lines_read_at is not null then s.net - o.amount end as delta,
  case when o.lines_read_at is not null then s.lines end as lines, o.created_at_provider as created_at, o.arrives_at, o.paid_at,
  case when s.net = o.amount then o.lines_read_at end as matched_at,
  (select e.recorded_at from ledger_entries e
   where e.merchant_id = o.merchant_id and e.kind = 'payout_paid' and e.source_type = 'payout'
     and e.source_id = o.provider || '/' || o.account || '/' || o.ref) as booked_at,
  o.failure_code
from payouts o
cross join lateral (
  select coalesce(sum(t.net), 0)::bigint as net, count(*) as lines from provider_transactions t
  where t.payout_ref = o.ref and t.provider = o.provider and t.account = o.account and t.currency = o.currency and t.kind <> 'payout'
) s;

comment on view report_v1.settlement_report is 'One row per payout of a provider to our bank: what was paid, what it is made of, and when both met.';
comment on column report_v1.settlement_report.provider is 'Who paid it out.';
comment on column report_v1.settlement_report.account is 'From which account.';
comment on column report_v1.settlement_report.ref is 'The provider''s id of the payout.';
comment on column report_v1.settlement_report.status is 'pending, in_transit, paid, failed or canceled.';
comment on column report_v1.settlement_report.currency is 'ISO 4217, lower case.';
comment on column report_v1.settlement_report.expected is 'What was paid out, in minor units.';
comment on column report_v1.settlement_report.actual is 'The sum of its lines, net; null while they are not known.';
comment on column report_v1.settlement_report.delta is 'actual - expected: zero, or a payout_mismatch is open.';
comment on column report_v1.settlement_report.lines is 'How many lines it is made of.';
comment on column report_v1.settlement_report.created_at is 'When the provider made it.';
comment on column report_v1.settlement_report.arrives_at is 'When the provider says it is there.';
comment on column report_v1.settlement_report.paid_at is 'When we learned that it was paid.';
comment on column report_v1.settlement_report.matched_at is 'When its lines were known and were its amount.';
comment on column report_v1.settlement_report.booked_at is 'When it was booked to our bank.';
comment on column report_v1.settlement_report.failure_code is 'Why it failed, while failed.';
