-- name: request
-- J9, of what is available and no more.
select * from request_merchant_payout(%(merchant_id)s, %(currency)s, %(amount)s, %(reason)s);

-- name: end
-- The bank's word on one: paid or returned.
select * from end_merchant_payout(%(merchant_id)s, %(id)s, %(status)s, %(bank_account)s, %(bank_ref)s, %(reason)s);

-- name: find
-- Merchant payouts, newest first.
select o.*, m.name as merchant, c.exponent
from merchant_payouts o
join merchants m on m.id = o.merchant_id
join currencies c on c.code = o.currency
where (%(id)s::uuid is null or o.id = %(id)s)
  and (%(merchant_id)s::uuid is null or o.merchant_id = %(merchant_id)s)
  and (%(status)s::text is null or o.status = %(status)s)
order by o.requested_at desc, o.id desc
limit %(limit)s;

-- name: entries
-- What one posted, oldest first.
select e.id, e.kind, e.recorded_at from ledger_entries e
where e.merchant_id = %(merchant_id)s and e.source_type = 'merchant_payout' and e.source_id = %(id)s::uuid::text
order by e.recorded_at, e.id;

-- name: move_reserve
-- J10, of what is there and no more.
select move_reserve(%(merchant_id)s, %(kind)s, %(currency)s, %(amount)s, %(reason)s) as entry_id;

-- name: debts
-- Merchants who have less than nothing available, those who owe most first.
select b.merchant_id, m.name as merchant, b.currency, c.exponent, b.amount as owes, b.updated_at
from ledger_balances b
join ledger_accounts a on a.merchant_id = b.merchant_id and a.id = b.account_id and a.code = 'merchant:available'
join merchants m on m.id = b.merchant_id
join currencies c on c.code = b.currency
where b.amount > 0 and (%(merchant_id)s::uuid is null or b.merchant_id = %(merchant_id)s)
order by b.amount desc, b.merchant_id, b.currency
limit %(limit)s;

-- name: write_off_debt
-- J11, of what is owed and no more.
select write_off_debt(%(merchant_id)s, %(currency)s, %(amount)s, %(reason)s) as entry_id;
