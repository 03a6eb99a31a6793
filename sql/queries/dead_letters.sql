-- name: find
-- Dead deliveries by filter, oldest first; `letter` is a short name made from the delivery's own key, so it never moves.
select * from (
  select left(encode(sha256(convert_to(d.event_id || ':' || d.handler, 'UTF8')), 'hex'), 8) as letter,
    d.event_id || ':' || d.handler as id, d.merchant_id, d.event_id, d.handler, moves_money(d.handler) as moves_money, d.topic, d.lane, d.payment_id, d.status,
    d.dead_at, d.dead_reason, d.failures, d.rescues, d.deferrals, d.resolution, d.resolved_by, d.resolved_at, d.resolved_reason,
    last_failure.error_class, last_failure.message, p.state as payment_state, p.amount, p.currency, c.exponent
  from deliveries d
  left join payments p on p.merchant_id = d.merchant_id and p.id = d.payment_id
  left join currencies c on c.code = p.currency
  left join lateral (
    select f.error_class, f.message from delivery_failures f
    where f.merchant_id = d.merchant_id and f.event_id = d.event_id and f.handler = d.handler
    order by f.id desc limit 1
  ) last_failure on true
  where d.status = 'dead'
    and (%(handled)s or d.resolution is null)
    and (%(handler)s::text is null or d.handler = %(handler)s)
    and (%(merchant_id)s::uuid is null or coalesce(p.merchant_id, d.merchant_id) = %(merchant_id)s)
    and (%(since)s::timestamptz is null or d.dead_at >= %(since)s)
    and (%(reason_class)s::text is null or %(reason_class)s in (
      d.dead_reason, last_failure.error_class, regexp_replace(last_failure.error_class, '^.*\.', '')))
) dead
where (%(names)s::text[] is null or dead.letter = any(%(names)s) or dead.id = any(%(names)s))
  and (%(after_at)s::timestamptz is null or (dead.dead_at, dead.event_id) > (%(after_at)s, %(after_id)s::uuid))
order by dead_at, event_id, handler
limit %(limit)s;

-- name: named
-- Deliveries by letter or id that are dead or were, whatever became of them.
select d.event_id || ':' || d.handler as id, d.merchant_id, d.event_id, d.handler, d.status, d.resolution
from (select * from deliveries where status = 'dead'
      union all
      select * from deliveries where resolution is not null and status <> 'dead') d
where d.event_id || ':' || d.handler = %(name)s
   or left(encode(sha256(convert_to(d.event_id || ':' || d.handler, 'UTF8')), 'hex'), 8) = %(name)s;

-- name: failures
-- Every raised failure of a delivery, in order.
select failed_at, error_class, message, traceback from delivery_failures
where merchant_id = %(merchant_id)s and event_id = %(event_id)s and handler = %(handler)s
order by failed_at, id;

-- name: prospect
-- What running a delivery again would meet: the payment, the operation, and the key it last sent.
select p.state as payment_state, p.provider_ref, o.id as operation_id, o.kind, o.status as operation_status, o.step, o.outcome,
  attempt.n, attempt.idempotency_key, attempt.first_sent_at, extract(epoch from clock_timestamp() - attempt.first_sent_at)::float8 as key_age,
  coalesce(last_call.replayed and last_call.http_status >= 500, false) as saved_error,
  exists (select from provider_transactions t
          where t.merchant_id = p.merchant_id and t.payment_id = p.id and t.kind in ('charge', 'payment')) as money_known
from deliveries d
join events e on e.merchant_id = d.merchant_id and e.id = d.event_id
left join payments p on p.merchant_id = d.merchant_id and p.id = d.payment_id
left join operations o on o.merchant_id = d.merchant_id and o.id = coalesce(e.operation_id, e.id)
left join lateral (
  select a.n, a.idempotency_key, a.first_sent_at from operation_attempts a
  where a.merchant_id = o.merchant_id and a.operation_id = o.id and a.step = o.step
  order by a.n desc limit 1
) attempt on true
left join lateral (
  select k.replayed, k.http_status from provider_calls k
  where k.merchant_id = o.merchant_id and k.operation_id = o.id and k.step = o.step and k.attempt = attempt.n
  order by k.sent_at desc limit 1
) last_call on true
where d.merchant_id = %(merchant_id)s and d.event_id = %(event_id)s and d.handler = %(handler)s;

-- name: replay
-- The same delivery, pending and due at once, with a clean slate; it runs alone, and only if it is still dead.
update deliveries set
  status = 'pending', dead_at = null, dead_reason = null, job_id = null, due_at = clock_timestamp(), alone = true,
  failures = 0, deferrals = 0, rescues = 0, deferred_since = null, deferred_for = null,
  resolution = 'replayed', resolved_by = %(by)s, resolved_at = clock_timestamp(), resolved_reason = %(reason)s
where merchant_id = %(merchant_id)s and event_id = %(event_id)s and handler = %(handler)s
  and case when status = 'dead' then event_id end = %(event_id)s and resolution is distinct from 'discarded';

-- name: discard
-- Nothing more will be done: it stays dead, and a person has said why.
update deliveries set
  resolution = 'discarded', resolved_by = %(by)s, resolved_at = clock_timestamp(), resolved_reason = %(reason)s
where merchant_id = %(merchant_id)s and event_id = %(event_id)s and handler = %(handler)s
  and case when status = 'dead' then event_id end = %(event_id)s and resolution is distinct from 'discarded';
