-- name: one_open_operation
-- Payments with more than one open submit, capture or cancel.
select merchant_id, payment_id, format('%%s open: %%s', count(*), string_agg(kind || ' ' || id, ', ' order by created_at)) as detail
from operations
where kind in ('submit', 'capture', 'cancel') and status in ('pending', 'in_flight', 'unknown')
  and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
group by merchant_id, payment_id
having count(*) > 1
limit %(limit)s;

-- name: leases_end
-- Operations in flight past their lease and the grace; when quiesced nothing is in flight at all.
select merchant_id, payment_id, format('%%s %%s is in flight, lease until %%s', kind, id, lease_expires_at) as detail
from operations
where status = 'in_flight' and (%(quiesced)s or lease_expires_at < clock_timestamp() - make_interval(secs => %(grace)s))
  and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
limit %(limit)s;

-- name: calls_end
-- Open calls that nobody has followed up: the open row of a crash is legal once its operation was called again or has its outcome.
select c.merchant_id, c.payment_id, format('%%s %%s, call %%s sent %%s has no end', c.method, c.path, c.id, c.sent_at) as detail
from provider_calls c
left join operations o on o.merchant_id = c.merchant_id and o.id = c.operation_id
where c.finished_at is null and c.sent_at < clock_timestamp() - make_interval(secs => %(grace)s)
  and (%(payment_id)s::uuid is null or c.payment_id = %(payment_id)s)
  -- a question moves nothing: what it was asked for is watched as a delivery
  and not (c.operation_id is null and c.method = 'GET')
  and o.outcome is null
  and not exists (
    select from provider_calls later
    where later.merchant_id = c.merchant_id and later.operation_id = c.operation_id
      and later.sent_at > c.sent_at and later.finished_at is not null)
limit %(limit)s;

-- name: keys_rise_only_with_proof
-- Keys after the first whose proof is no finished earlier call of the operation (creating moves no money: it may be open), and unknown keys.
select a.merchant_id, o.payment_id, format('%%s: its proof is no finished earlier call of its operation', a.idempotency_key) as detail
from operation_attempts a
join operations o on o.merchant_id = a.merchant_id and o.id = a.operation_id
where a.n > 1 and (%(payment_id)s::uuid is null or o.payment_id = %(payment_id)s)
  and not exists (
    select from provider_calls c
    where c.merchant_id = a.merchant_id and c.id = a.proof_call_id and c.operation_id = a.operation_id
      and (c.finished_at is not null or a.step = 'create') and c.sent_at < a.first_sent_at)
union all
select c.merchant_id, c.payment_id, format('call %%s used the key %%s, which was never written down', c.id, c.idempotency_key)
from provider_calls c
where c.operation_id is not null and c.idempotency_key is not null
  and (%(payment_id)s::uuid is null or c.payment_id = %(payment_id)s)
  and not exists (
    select from operation_attempts a
    where a.merchant_id = c.merchant_id and a.operation_id = c.operation_id and a.idempotency_key = c.idempotency_key)
limit %(limit)s;

-- name: refunds_follow_their_operations
-- Refunds asked of us that are over while their operation is open, or undecided after it ended.
select r.merchant_id, r.payment_id, format('refund %%s is %%s, its operation %%s', r.id, r.state, o.status) as detail
from refunds r
join operations o on o.merchant_id = r.merchant_id and o.id = r.operation_id
where (%(payment_id)s::uuid is null or r.payment_id = %(payment_id)s)
  and (r.state in ('requested', 'submitting', 'outcome_unknown') and o.finished_at is not null
       or o.finished_at is null and (%(quiesced)s or o.created_at < clock_timestamp() - make_interval(secs => %(grace)s))
          and r.state in ('failed', 'canceled') and r.provider_ref is null)
limit %(limit)s;
