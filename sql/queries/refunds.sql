-- name: request
-- A refund that was asked of us, with the operation that carries it out.
insert into refunds (merchant_id, id, payment_id, currency, amount, origin, operation_id, reason, provider, provider_account)
values (%(merchant_id)s, %(refund_id)s, %(payment_id)s, %(currency)s, %(amount)s, 'api', %(operation_id)s, %(reason)s, %(provider)s,
        %(account)s)
returning *;

-- name: adopt
-- A refund that was made at the provider, not by us.
insert into refunds (merchant_id, payment_id, currency, amount, origin, reason, provider, provider_account)
values (%(merchant_id)s, %(payment_id)s, %(currency)s, %(amount)s, 'provider', %(reason)s, %(provider)s, %(account)s)
returning *;

-- name: of_payment
-- The refunds of a payment whose lock is held.
select * from refunds where merchant_id = %(merchant_id)s and payment_id = %(payment_id)s order by created_at, id;

-- name: of_operation
-- The refund that an operation carries out.
select * from refunds where merchant_id = %(merchant_id)s and operation_id = %(operation_id)s;

-- name: take_step
-- One legal step of a refund: the state to enter, or none, and what the provider says of it.
update refunds set
  state = coalesce(%(state)s, state),
  provider_ref = coalesce(provider_ref, %(provider_ref)s),
  provider_status = coalesce(%(provider_status)s, provider_status),
  failure_reason = coalesce(failure_reason, case when %(state)s::text = 'failed' then %(failure_reason)s end)
where merchant_id = %(merchant_id)s and id = %(refund_id)s
returning *;

-- name: get
-- One refund as its merchant sees it, in the mode of the key that asks.
select r.* from refunds r
join payments p on p.merchant_id = r.merchant_id and p.id = r.payment_id and p.livemode = %(livemode)s
where r.merchant_id = %(merchant_id)s and r.id = %(refund_id)s;

-- name: page
-- A merchant's refunds, newest first, after the cursor; of one payment, or of all.
select r.* from refunds r
join payments p on p.merchant_id = r.merchant_id and p.id = r.payment_id and p.livemode = %(livemode)s
where r.merchant_id = %(merchant_id)s
  and (r.created_at, r.id) < (%(before)s::timestamptz, %(before_id)s::uuid)
  and (%(payment_id)s::uuid is null or r.payment_id = %(payment_id)s)
  and (%(state)s::text is null or r.state = %(state)s)
order by r.created_at desc, r.id desc
limit %(limit)s;

-- name: find
-- Refunds as operators see them, newest first.
select r.*, p.reference, c.exponent
from refunds r
join payments p on p.merchant_id = r.merchant_id and p.id = r.payment_id
join currencies c on c.code = r.currency
where (%(id)s::uuid is null or r.id = %(id)s)
  and (%(merchant_id)s::uuid is null or r.merchant_id = %(merchant_id)s)
  and (%(payment_id)s::uuid is null or r.payment_id = %(payment_id)s)
  and (%(state)s::text is null or r.state = %(state)s)
order by r.created_at desc, r.id desc
limit %(limit)s;

-- name: payment_of_operator
-- Whose payment it is, and in which mode, for an operator who refunds it.
select merchant_id, livemode from payments where id = %(payment_id)s;

-- name: newest_of
-- The newest refunds of each of these payments of one merchant, so many at most of each, newest first.
select r.* from unnest(%(payment_ids)s::uuid[]) as wanted (payment_id)
cross join lateral (
  select * from refunds c
  where c.merchant_id = %(merchant_id)s and c.payment_id = wanted.payment_id
  order by c.created_at desc, c.id desc
  limit %(limit)s
) r
order by r.created_at desc, r.id desc;
