-- name: of_payment
-- The disputes of a payment whose lock is held, each with the money lines that are stored of it.
select d.*, array(
  select t.ref from provider_transactions t
  where t.merchant_id = d.merchant_id and t.payment_id = d.payment_id and t.dispute_id = d.id) as known
from disputes d
where d.merchant_id = %(merchant_id)s and d.payment_id = %(payment_id)s
order by d.created_at, d.id;

-- name: open
-- A dispute that the provider tells of: it holds nothing until its money lines say so.
insert into disputes (merchant_id, payment_id, state, currency, amount, disputed_at, evidence_due_at, provider, provider_account,
  provider_ref, provider_status, reason)
values (%(merchant_id)s, %(payment_id)s, %(state)s, %(currency)s, %(amount)s, %(disputed_at)s, %(evidence_due_at)s, %(provider)s,
  %(account)s, %(provider_ref)s, %(provider_status)s, %(reason)s)
returning *;

-- name: take_step
-- One legal step of a dispute: the state to enter, or none, what it holds, and what the provider says of it.
update disputes set
  state = coalesce(%(state)s, state),
  amount = %(amount)s,
  amount_withdrawn = %(withdrawn)s,
  evidence_due_at = coalesce(%(evidence_due_at)s, evidence_due_at),
  provider_status = %(provider_status)s,
  reason = coalesce(%(reason)s, reason)
where merchant_id = %(merchant_id)s and id = %(dispute_id)s
returning *;

-- name: tell_unknown_status
-- A word of the provider that nobody knows: people are told.
select emit_dispute_status_unknown(%(merchant_id)s, %(dispute_id)s);

-- name: get
-- One dispute as its merchant sees it, in the mode of the key that asks.
select d.* from disputes d
join payments p on p.merchant_id = d.merchant_id and p.id = d.payment_id and p.livemode = %(livemode)s
where d.merchant_id = %(merchant_id)s and d.id = %(dispute_id)s;

-- name: page
-- A merchant's disputes, newest first, after the cursor; of one payment, or of all.
select d.* from disputes d
join payments p on p.merchant_id = d.merchant_id and p.id = d.payment_id and p.livemode = %(livemode)s
where d.merchant_id = %(merchant_id)s
  and (d.created_at, d.id) < (%(before)s::timestamptz, %(before_id)s::uuid)
  and (%(payment_id)s::uuid is null or d.payment_id = %(payment_id)s)
  and (%(state)s::text is null or d.state = %(state)s)
order by d.created_at desc, d.id desc
limit %(limit)s;

-- name: find
-- Disputes as operators see them, newest first.
select d.*, p.reference, c.exponent
from disputes d
join payments p on p.merchant_id = d.merchant_id and p.id = d.payment_id
join currencies c on c.code = d.currency
where (%(id)s::uuid is null or d.id = %(id)s)
  and (%(merchant_id)s::uuid is null or d.merchant_id = %(merchant_id)s)
  and (%(payment_id)s::uuid is null or d.payment_id = %(payment_id)s)
  and (%(state)s::text is null or d.state = %(state)s)
order by d.created_at desc, d.id desc
limit %(limit)s;

-- name: newest_of
-- The newest disputes of each of these payments of one merchant, so many at most of each, newest first.
select d.* from unnest(%(payment_ids)s::uuid[]) as wanted (payment_id)
cross join lateral (
  select * from disputes c
  where c.merchant_id = %(merchant_id)s and c.payment_id = wanted.payment_id
  order by c.created_at desc, c.id desc
  limit %(limit)s
) d
order by d.created_at desc, d.id desc;
