-- name: upsert
-- One money line of the provider, as it says it is now; an available line never becomes pending again.
insert into provider_transactions as t (merchant_id, provider, account, ref, payment_id, kind, source_ref, currency, gross, fee, net,
  status, available_on, created_at_provider)
values (%(merchant_id)s, %(provider)s, %(account)s, %(ref)s, %(payment_id)s, %(kind)s, %(source_ref)s, %(currency)s, %(gross)s,
  %(fee)s, %(net)s, %(status)s, %(available_on)s, %(created_at)s)
on conflict (merchant_id, provider, account, ref) do update set
  status = excluded.status, available_on = excluded.available_on, payment_id = coalesce(t.payment_id, excluded.payment_id),
  updated_at = clock_timestamp()
where t.status = 'pending' and (t.status, t.available_on) is distinct from (excluded.status, excluded.available_on);

-- name: charge_of
-- The charge line of a payment: what was captured, and when it is ours.
select ref, status, available_on, extract(epoch from available_on - clock_timestamp())::float8 as available_in
from provider_transactions
where merchant_id = %(merchant_id)s and payment_id = %(payment_id)s and kind in ('charge', 'payment')
order by status desc, available_on limit 1;

-- name: payments_available_by
-- Payments with money the provider says is available by a moment of its own clock, and which are not settled yet.
select distinct t.payment_id, p.merchant_id
from provider_transactions t
join payments p on p.merchant_id = t.merchant_id and p.id = t.payment_id
where t.provider = %(provider)s and t.account = %(account)s and t.status = 'pending' and t.available_on <= %(moment)s
  and p.settled_at is null
limit %(limit)s;
