-- name: ledger_entries_sum_to_zero
-- Entries of fewer than two lines, or whose lines are not zero in every currency.
select e.merchant_id, e.payment_id,
       format('entry %%s (%%s) has %%s lines%%s', e.id, e.kind, sum(coalesce(s.lines, 0)),
              coalesce(', off by ' || string_agg(s.amount || ' ' || s.currency, ', ') filter (where s.amount <> 0), '')) as detail
from ledger_entries e
left join (
  select merchant_id, entry_id, currency, count(*) as lines, sum(amount) as amount from ledger_lines
  where %(payment_id)s::uuid is null or payment_id = %(payment_id)s
  group by merchant_id, entry_id, currency
) s on s.merchant_id = e.merchant_id and s.entry_id = e.id
where %(payment_id)s::uuid is null or e.payment_id = %(payment_id)s
group by e.merchant_id, e.id
having sum(coalesce(s.lines, 0)) < 2 or bool_or(s.amount <> 0)
limit %(limit)s;

-- name: ledger_lines_are_as_audited
-- Entries whose lines are no longer what their audit entry tells, and audit entries of entries that are gone.
select coalesce(l.merchant_id, a.merchant_id) as merchant_id, coalesce(l.payment_id, a.payment_id) as payment_id,
       format('entry %%s %%s', coalesce(l.entry_id::text, a.entity_id),
              case when a.entity_id is null then 'has no audit entry' when l.entry_id is null then 'is gone' else 'was changed' end) as detail
from (
  select merchant_id, entry_id, min(payment_id::text)::uuid as payment_id,
         jsonb_agg(jsonb_build_array(line, account_id, currency, amount) order by line) as lines
  from ledger_lines where %(payment_id)s::uuid is null or payment_id = %(payment_id)s
  group by merchant_id, entry_id
) l
full join (
  select a.merchant_id, a.entity_id, a.payment_id,
         (select jsonb_agg(jsonb_build_array(t.line, t.account_id, t.currency, t.amount) order by t.line)
          from jsonb_to_recordset(a.body::jsonb #> '{after,lines}') as t (line integer, account_id uuid, currency text, amount bigint)) as lines
  from audit_log a
  where a.entity_type = 'ledger_entry' and (%(payment_id)s::uuid is null or a.payment_id = %(payment_id)s)
) a on a.merchant_id = l.merchant_id and a.entity_id = l.entry_id::text
where l.lines is distinct from a.lines
limit %(limit)s;

-- name: ledger_balances_are_their_lines
-- Merchants' balances that are not the sum of their account's lines.
select coalesce(b.merchant_id, s.merchant_id) as merchant_id, null::uuid as payment_id,
       format('account %%s: balance %%s, lines %%s %%s', coalesce(b.account_id, s.account_id), coalesce(b.amount::text, 'none'),
              coalesce(s.amount, 0), coalesce(b.currency, s.currency)) as detail
from ledger_balances b
full join (
  select account_merchant_id as merchant_id, account_id, currency, sum(amount) as amount from ledger_lines
  where account_merchant_id <> '00000000-0000-0000-0000-000000000000' group by 1, 2, 3
) s on s.merchant_id = b.merchant_id and s.account_id = b.account_id and s.currency = b.currency
where %(payment_id)s::uuid is null and b.amount is distinct from s.amount
limit %(limit)s;

-- name: ledger_is_folded
-- What was posted to merchants and never moved into their balances: no committed transaction leaves any.
select merchant_id, null::uuid as payment_id, format('account %%s: %%s %%s of transaction %%s', account_id, amount, currency, recorded_xid) as detail
from ledger_folds
where %(payment_id)s::uuid is null
limit %(limit)s;
