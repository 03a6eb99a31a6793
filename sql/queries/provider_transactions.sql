-- name: upsert
-- One money line of the provider, as it says it is now: an available one never becomes pending again, one that was
-- nobody's moves to its payment, and finds its refund or dispute, once, and that it was exchanged may be told late.
insert into provider_transactions as t (merchant_id, provider, account, ref, payment_id, refund_id, dispute_id, kind, source_ref,
  currency, gross, fee, net, status, available_on, created_at_provider, exchanged)
values (%(merchant_id)s, %(provider)s, %(account)s, %(ref)s, %(payment_id)s, %(refund_id)s, %(dispute_id)s, %(kind)s, %(source_ref)s,
  %(currency)s, %(gross)s, %(fee)s, %(net)s, %(status)s, %(available_on)s, %(created_at)s, %(exchanged)s)
on conflict (provider, account, ref) do update set
  status = case t.status when 'available' then t.status else excluded.status end,
  available_on = case t.status when 'available' then t.available_on else excluded.available_on end,
  merchant_id = case when t.payment_id is null then excluded.merchant_id else t.merchant_id end,
  payment_id = coalesce(t.payment_id, excluded.payment_id),
  refund_id = coalesce(t.refund_id, excluded.refund_id),
  dispute_id = coalesce(t.dispute_id, excluded.dispute_id),
  exchanged = t.exchanged or excluded.exchanged,
  updated_at = clock_timestamp()
where (t.status = 'pending' and (t.status, t.available_on) is distinct from (excluded.status, excluded.available_on))
   or (t.payment_id is null and excluded.payment_id is not null)
   or (t.refund_id is null and excluded.refund_id is not null)
   or (t.dispute_id is null and excluded.dispute_id is not null)
   or (not t.exchanged and excluded.exchanged);

-- name: charge_of
-- The charge line of a payment: what was captured, and when it is ours.
select ref, status, available_on, extract(epoch from available_on - clock_timestamp())::float8 as available_in
from provider_transactions
where merchant_id = %(merchant_id)s and payment_id = %(payment_id)s and kind in ('charge', 'payment')
order by status desc, available_on limit 1;

-- name: next_available
-- When the next line of a payment becomes available; no row when none is pending.
select extract(epoch from available_on - clock_timestamp())::float8 as available_in
from provider_transactions
where merchant_id = %(merchant_id)s and payment_id = %(payment_id)s and case when status = 'pending' then payment_id end = %(payment_id)s
order by available_on limit 1;

-- name: payments_available_by
-- Payments with a line the provider says is available by a moment of its own clock.
select distinct t.payment_id, p.merchant_id
from provider_transactions t
join payments p on p.merchant_id = t.merchant_id and p.id = t.payment_id
where t.provider = %(provider)s and t.account = %(account)s and t.status = 'pending' and t.available_on <= %(moment)s
limit %(limit)s;

-- name: known
-- What is stored of these lines: whose they are, whether they are available, and whether they were exchanged.
select ref, payment_id, status, exchanged from provider_transactions
where provider = %(provider)s and account = %(account)s and ref = any(%(refs)s::text[]);

-- name: owners
-- Whose these lines are: the payment of the provider's object, of its charge, or the one that our own metadata names.
select l.ref, p.merchant_id, p.id as payment_id
from unnest(%(refs)s::text[], %(source_refs)s::text[], %(payment_refs)s::text[], %(payment_ids)s::uuid[], %(merchant_ids)s::uuid[])
  l (ref, source_ref, payment_ref, payment_id, merchant_id)
cross join lateral (
  (select merchant_id, id, 1 as place from payments
   where provider = %(provider)s and provider_account = %(account)s and provider_ref = l.payment_ref)
  union all
  (select merchant_id, id, 2 from payments
   where latest_charge_ref = l.source_ref and provider = %(provider)s and provider_account = %(account)s)
  union all
  (select merchant_id, id, 3 from payments
   where merchant_id = l.merchant_id and id = l.payment_id and provider = %(provider)s and provider_account = %(account)s)
  order by place limit 1
) p;

-- name: assign_payout
-- These lines were paid out together.
update provider_transactions set payout_ref = %(payout_ref)s, updated_at = clock_timestamp()
where provider = %(provider)s and account = %(account)s and ref = any(%(refs)s::text[]) and payout_ref is null;

-- name: of_child
-- The money lines of a refund or a dispute, oldest first.
select t.ref, t.kind, t.currency, c.exponent, t.gross, t.fee, t.net, t.status, t.available_on, t.created_at_provider, t.payout_ref
from provider_transactions t
join currencies c on c.code = t.currency
where t.merchant_id = %(merchant_id)s and t.payment_id = %(payment_id)s and %(id)s::uuid in (t.refund_id, t.dispute_id)
order by t.created_at_provider, t.ref;
