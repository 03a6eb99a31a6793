-- The books at the end of every day on which something was posted.
drop view if exists report_v1.ledger_trial_balance;
create view report_v1.ledger_trial_balance with (security_barrier = true) as
with moved as (
  select (e.recorded_at at time zone 'UTC')::date as day,
         case when a.code like 'merchant:%' then regexp_replace(a.code, '^merchant:', 'merchant:*:') else a.code end as account,
         a.kind, l.currency, coalesce(sum(l.amount) filter (where l.amount > 0), 0) as debits,
         coalesce(-sum(l.amount) filter (where l.amount < 0), 0) as credits
  from ledger_lines l
  join ledger_accounts a on a.merchant_id = l.account_merchant_id and a.id = l.account_id
  join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id
  group by 1, 2, 3, 4
),
-- an account stands on every day, so that each day's total is the control total
days as (
  select d.day, a.account, a.kind, a.currency, coalesce(m.debits, 0) as debits, coalesce(m.credits, 0) as credits
  from (select distinct day from moved) d
  cross join (select distinct account, kind, currency from moved) a
  left join moved m on m.day = d.day and m.account = a.account and m.currency = a.currency
)
select day, account, kind, currency,
  (coalesce(sum(debits - credits) over (partition by account, currency order by day rows between unbounded preceding and 1 preceding), 0))::bigint
    as opening,
  debits::bigint as debits, credits::bigint as credits,
  (sum(debits - credits) over (partition by account, currency order by day))::bigint as closing
from days;

comment on view report_v1.ledger_trial_balance is
  'One row per account, currency and day (UTC) with any posting. The closings of one day and currency sum to zero.';
comment on column report_v1.ledger_trial_balance.day is 'The day, in UTC; the last one at or before a date is the balance of that date.';
comment on column report_v1.ledger_trial_balance.account is 'The account; merchants'' accounts of one kind together.';
comment on column report_v1.ledger_trial_balance.kind is 'asset, liability, income or expense.';
comment on column report_v1.ledger_trial_balance.currency is 'ISO 4217, lower case.';
comment on column report_v1.ledger_trial_balance.opening is 'What it held before that day, in minor units; debit is positive.';
comment on column report_v1.ledger_trial_balance.debits is 'What was debited on that day.';
comment on column report_v1.ledger_trial_balance.credits is 'What was credited on that day, as a positive number.';
comment on column report_v1.ledger_trial_balance.closing is 'What it held after that day: opening + debits - credits.';
