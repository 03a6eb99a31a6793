-- name: register
-- Payments as the register shows them, newest first.
select r.payment_id, r.merchant_id, r.merchant, r.created_at, r.state, r.amount, r.captured, r.currency, c.exponent, r.method,
       r.reference, r.provider_ref, r.settled_at, r.has_dead_letter
from report_v1.payment_register r
join currencies c on c.code = r.currency
where (%(merchant_id)s::uuid is null or r.merchant_id = %(merchant_id)s)
  and (%(state)s::text is null or r.state = %(state)s)
  and (%(since)s::timestamptz is null or r.created_at >= %(since)s)
order by r.created_at desc, r.payment_id desc
limit %(limit)s;

-- name: payment
-- One payment as the register shows it, with how to write its amounts.
select r.*, c.exponent
from report_v1.payment_register r
join currencies c on c.code = r.currency
where r.payment_id = %(payment_id)s;

-- name: operations_of
-- What was intended at the provider for one payment.
select id, kind, status, step, attempt, amount, outcome, outcome_code, created_at, finished_at
from operations where merchant_id = %(merchant_id)s and payment_id = %(payment_id)s
order by created_at, id;

-- name: deliveries_of
-- What is still to be done about one payment, or died.
select event_id || ':' || handler as id, handler, topic, status, due_at, runs, failures, deferrals, deferred_for, dead_reason, resolution
from deliveries
where merchant_id = %(merchant_id)s and payment_id = %(payment_id)s and status <> 'done'
order by created_at;
