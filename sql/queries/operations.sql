-- name: lock
-- One operation with its payment's lock already held.
select *, lease_expires_at > clock_timestamp() as leased,
       greatest(0, extract(epoch from lease_expires_at - clock_timestamp()))::float8 as lease_left
from operations where merchant_id = %(merchant_id)s and id = %(operation_id)s for update;

-- name: open
-- A new operation; its id may be given, so that a rerun finds the same one.
insert into operations (merchant_id, id, payment_id, kind, step, amount, reason, target_ref, params, params_sha256)
values (%(merchant_id)s, %(operation_id)s, %(payment_id)s, %(kind)s, %(step)s, %(amount)s, %(reason)s, %(target_ref)s,
        %(params)s, %(params_sha256)s)
on conflict (merchant_id, id) do nothing;

-- name: lease
-- Take the operation for one HTTP call; where a step begins anew, how often was asked about it is told as well.
update operations set
  status = 'in_flight', step = %(step)s, attempt = %(attempt)s, asks = coalesce(%(asks)s, asks),
  lease_token = %(lease_token)s, lease_expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
where merchant_id = %(merchant_id)s and id = %(operation_id)s;

-- name: settle_lease
-- Give the lease back with what is known now; no row means somebody else owns the operation: this is a late result.
update operations set
  status = %(status)s, step = coalesce(%(step)s, step), asks = %(asks)s,
  lease_token = null, lease_expires_at = null,
  outcome = %(outcome)s, outcome_code = %(outcome_code)s, outcome_message = %(outcome_message)s,
  finished_at = case when %(outcome)s::text is null then null else clock_timestamp() end
where merchant_id = %(merchant_id)s and id = %(operation_id)s and lease_token = %(lease_token)s and outcome is null;

-- name: expire_lease
-- The holder is gone: nobody knows how the call ended.
update operations set status = 'unknown', lease_token = null, lease_expires_at = null
where merchant_id = %(merchant_id)s and id = %(operation_id)s
  and case when status = 'in_flight' then lease_expires_at end <= clock_timestamp();

-- name: first_lease
-- When the first lease expires, from this date on or from the very first; now, if none does before.
select least(
  (select o.lease_expires_at from operations o
   where o.lease_expires_at >= coalesce(%(since)s::timestamptz, '-infinity') order by o.lease_expires_at limit 1),
  statement_timestamp()) as due_at;

-- name: expired_leases
-- Operations whose holder is gone, of the leases that expired from this date on.
select merchant_id, id as operation_id, payment_id from operations
where lease_expires_at <= statement_timestamp() and lease_expires_at >= coalesce(%(since)s::timestamptz, '-infinity')
order by lease_expires_at
limit %(limit)s;

-- name: last_cancel_reason
-- Why we asked for the last cancel of this payment that took effect or may have; one that failed explains nothing.
select reason from operations
where merchant_id = %(merchant_id)s and payment_id = %(payment_id)s and kind = 'cancel' and status <> 'failed'
order by created_at desc limit 1;

-- name: closing_of
-- The operation that closes this provider object, if there is one.
select id from operations
where merchant_id = %(merchant_id)s and payment_id = %(payment_id)s and kind = 'close' and target_ref = %(target_ref)s;

-- name: begin_attempt
-- One idempotency key, written down before it is first sent; sending a further one again needs its proof no second time.
insert into operation_attempts (merchant_id, operation_id, step, n, idempotency_key, proof_call_id)
select %(merchant_id)s, %(operation_id)s, %(step)s, %(n)s, %(idempotency_key)s, %(proof_call_id)s
where not exists (
  select from operation_attempts a
  where a.merchant_id = %(merchant_id)s and a.operation_id = %(operation_id)s and a.step = %(step)s and a.n = %(n)s);

-- name: attempt
-- One attempt: how old its key is, and whether the provider's stored answer to it was a server error.
select a.n, a.idempotency_key, extract(epoch from clock_timestamp() - a.first_sent_at)::float8 as age,
       last_call.id as last_call_id, coalesce(last_call.replayed and last_call.http_status >= 500, false) as saved_error
from operation_attempts a
left join lateral (
  select c.id, c.replayed, c.http_status from provider_calls c
  where c.merchant_id = a.merchant_id and c.operation_id = a.operation_id and c.step = a.step and c.attempt = a.n
  order by c.sent_at desc limit 1
) last_call on true
where a.merchant_id = %(merchant_id)s and a.operation_id = %(operation_id)s and a.step = %(step)s
order by a.n desc limit 1;

-- name: open_call
-- Written down before it is sent: the open row is the evidence of a crash.
insert into provider_calls (merchant_id, id, payment_id, operation_id, provider, account, step, attempt, method, path,
  idempotency_key, request, request_sha256)
values (%(merchant_id)s, %(call_id)s, %(payment_id)s, %(operation_id)s, %(provider)s, %(account)s, %(step)s, %(attempt)s,
  %(method)s, %(path)s, %(idempotency_key)s, %(request)s, %(request_sha256)s);

-- name: complete_call
-- How a call ended; once.
update provider_calls set
  finished_at = clock_timestamp(), outcome = %(outcome)s, http_status = %(http_status)s, replayed = %(replayed)s,
  provider_request_id = %(provider_request_id)s, response = %(response)s, response_sha256 = %(response_sha256)s,
  error_class = %(error_class)s, error_detail = %(error_detail)s, duration_ms = %(duration_ms)s, late = %(late)s
where merchant_id = %(merchant_id)s and id = %(call_id)s and finished_at is null;

-- name: request
-- What a merchant asks for; a second open one on the same payment is refused by the index.
insert into operations (merchant_id, id, payment_id, kind, step, amount, reason, params, params_sha256)
values (%(merchant_id)s, %(operation_id)s, %(payment_id)s, %(kind)s, %(step)s, %(amount)s, %(reason)s, %(params)s,
        %(params_sha256)s)
returning *;

-- name: new_id
-- An id for an operation that does not come from an event.
select uuidv7() as id;
