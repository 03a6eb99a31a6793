-- name: candidates
-- Every payment an identifier may mean, and what it was recognised as. An id says what it is the id of, where it does: a table in
-- which merchants lead every key is asked once for each merchant, so no other table is.
with event as materialized (
  select merchant_id, id, payment_id, webhook_id from events where id = %(event)s
)
select distinct on (merchant_id, payment_id) found.merchant_id, found.payment_id, found.recognised, p.state, p.created_at, p.reference, p.provider_ref
from (
  select merchant_id, id as payment_id, 'payment' as recognised from payments where id = %(payment)s
  union all
  select merchant_id, payment_id, 'operation' from operations where id = %(operation)s
  union all
  select merchant_id, payment_id, 'refund' from refunds where id = %(refund)s or provider_ref = %(text)s
  union all
  select merchant_id, payment_id, 'dispute' from disputes where id = %(dispute)s or provider_ref = %(text)s
  union all
  select merchant_id, payment_id, 'event' from event where payment_id is not null
  union all
  select merchant_id, payment_id, 'provider call' from provider_calls where id = %(other)s and payment_id is not null
  union all
  select merchant_id, id, 'provider reference' from payments where provider_ref = %(text)s
  union all
  select merchant_id, id, 'charge' from payments where latest_charge_ref = %(text)s
  union all
  select merchant_id, payment_id, 'money line' from provider_transactions
  where (ref = %(text)s or source_ref = %(text)s) and payment_id is not null
  union all
  select merchant_id, id, 'reference' from payments where reference = %(text)s
  union all
  -- it begins with its operation
  select a.merchant_id, o.payment_id, 'attempt key'
  from operations o join operation_attempts a on a.merchant_id = o.merchant_id and a.idempotency_key = %(text)s
  where o.id = %(attempted)s
  union all
  -- the answer kept with a merchant's key names the payment it made; as an array, which is taken to be short
  select k.merchant_id, named.payment_id, 'idempotency key'
  from idempotency_keys k
  cross join lateral unnest(array(
    select digits[1]::uuid from regexp_matches(convert_from(k.body, 'UTF8'), 'pay_([0-9a-f]{32})', 'g') answer (digits)
  )) named (payment_id)
  where k.key = %(text)s and k.body is not null
  union all
  select p.merchant_id, p.id, 'provider event'
  from webhooks w
  join payments p on (p.id = w.payment_id and p.merchant_id = w.payment_merchant_id)
                  or (p.provider_ref = w.payment_ref and p.provider = w.provider and p.provider_account = w.account)
  where w.provider_event_id = %(text)s or w.id = %(other)s
  union all
  select p.merchant_id, p.id, 'our event'
  from event e
  join webhooks w on w.merchant_id = e.merchant_id and w.id = e.webhook_id
  join payments p on (p.id = w.payment_id and p.merchant_id = w.payment_merchant_id)
                  or (p.provider_ref = w.payment_ref and p.provider = w.provider and p.provider_account = w.account)
) found
join payments p on p.merchant_id = found.merchant_id and p.id = found.payment_id
order by merchant_id, payment_id, recognised
limit %(limit)s;

-- name: evidence
-- Everything that is known about one payment, in time order.
select t.at, t.source, t.evidence_id, t.what, t.from_state, t.to_state, t.actor_type, t.actor_id, t.on_behalf_of, t.reason, t.ref,
  t.amount, t.currency, t.correlation_id, t.causation_id, t.payload_sha256, t.hash_ok
from report_v1.transaction_trace t
where t.payment_id = %(payment_id)s and t.merchant_id = %(merchant_id)s
order by t.at, t.source, t.evidence_id;
