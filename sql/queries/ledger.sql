-- name: credit_merchant
-- J1 and our fee, once per payment.
select credit_merchant(%(merchant_id)s, %(payment_id)s);

-- name: release_funds
-- J2, once per payment.
select release_funds(%(merchant_id)s, %(payment_id)s);

-- name: post_fact
-- The provider's side of one fact.* event, once.
select post_fact(%(merchant_id)s, %(event_id)s);

-- name: close
-- Move what this transaction posted into the merchants' balances: once, at its end.
select ledger_close();

-- name: balance
-- What a merchant has, by account and currency.
select a.code, b.currency, b.amount
from ledger_balances b
join ledger_accounts a on a.merchant_id = b.merchant_id and a.id = b.account_id
where b.merchant_id = %(merchant_id)s
order by b.currency, a.code;

-- name: feed
-- The lines on a merchant's own accounts in commit-safe order, after the cursor; what might still be overtaken is not shown yet.
select l.entry_id, l.line, a.code, l.currency, l.amount, l.payment_id, l.epoch, l.recorded_xid::text as recorded_xid, e.kind, e.recorded_at
from ledger_lines l
join ledger_accounts a on a.merchant_id = l.account_merchant_id and a.id = l.account_id
join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id
where l.account_merchant_id = %(merchant_id)s and l.account_merchant_id <> '00000000-0000-0000-0000-000000000000'
  and (l.epoch, l.recorded_xid, l.entry_id, l.line) > (%(epoch)s, %(xid)s::xid8, %(entry_id)s::uuid, %(line)s)
  -- transaction ids of an earlier cluster say nothing about this one, and all of them are over
  and (l.epoch < current_epoch() or l.recorded_xid < pg_snapshot_xmin(pg_current_snapshot()))
order by l.epoch, l.recorded_xid, l.entry_id, l.line
limit %(limit)s;

-- name: trial_balance
-- Every account of the platform, the merchants' together by code, with what was debited and credited.
select case when a.code like 'merchant:%%' then regexp_replace(a.code, '^merchant:', 'merchant:*:') else a.code end as account,
       a.kind, l.currency, c.exponent, count(distinct a.id) as accounts,
       coalesce(sum(l.amount) filter (where l.amount > 0), 0)::bigint as debits,
       coalesce(-sum(l.amount) filter (where l.amount < 0), 0)::bigint as credits,
       sum(l.amount)::bigint as balance
from ledger_lines l
join ledger_accounts a on a.merchant_id = l.account_merchant_id and a.id = l.account_id
join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id
join currencies c on c.code = l.currency
where (%(merchant_id)s::uuid is null or a.merchant_id = %(merchant_id)s)
  and (%(until)s::timestamptz is null or e.recorded_at < %(until)s)
group by a.code, a.kind, l.currency, c.exponent
order by l.currency, array_position(array['asset', 'liability', 'income', 'expense'], a.kind), a.code;

-- name: control_total
-- The sum of all lines by currency: zero, or the books are broken.
select l.currency, sum(l.amount)::bigint as total
from ledger_lines l
join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id
where %(until)s::timestamptz is null or e.recorded_at < %(until)s
group by l.currency
order by l.currency;

-- name: account
-- One account by its owner and code, and what it holds by currency.
select a.merchant_id, a.id, a.code, ledger_account_name(a.merchant_id, a.code) as account, a.kind, a.opened_at,
       coalesce((select jsonb_object_agg(s.currency, s.amount) from (
         select currency, sum(amount)::bigint as amount from ledger_lines where account_id = a.id group by currency) s), '{}') as holds
from ledger_accounts a
where a.merchant_id = %(merchant_id)s and a.code = %(code)s;

-- name: account_lines
-- The newest lines of one account, perhaps of one payment only.
select e.recorded_at, e.kind, l.entry_id, l.merchant_id, l.payment_id, l.currency, c.exponent, l.amount
from ledger_lines l
join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id
join currencies c on c.code = l.currency
where l.account_id = %(account_id)s and (%(payment_id)s::uuid is null or l.payment_id = %(payment_id)s)
order by e.recorded_at desc, l.entry_id desc, l.line
limit %(limit)s;

-- name: entry
-- One entry by its id.
select merchant_id, id, kind, source_type, source_id, payment_id, reverses_entry_id, recorded_at,
       (select r.id from ledger_entries r where r.merchant_id = e.merchant_id and r.reverses_entry_id = e.id) as reversed_by
from ledger_entries e
where id = %(entry_id)s;

-- name: entry_lines
-- The lines of one entry, in order.
select l.line, ledger_account_name(a.merchant_id, a.code) as account, a.kind, l.currency, c.exponent, l.amount
from ledger_lines l
join ledger_accounts a on a.merchant_id = l.account_merchant_id and a.id = l.account_id
join currencies c on c.code = l.currency
where l.merchant_id = %(merchant_id)s and l.entry_id = %(entry_id)s
order by l.line;

-- name: reverse
-- The opposite of an entry; null when it was reversed before.
select ledger_reverse(%(merchant_id)s, %(entry_id)s, %(reason)s) as entry_id;
