-- One payment's story: every piece of evidence once. Ask by payment_id; every table is asked once, by index, for each payment.
drop view if exists report_v1.transaction_trace;
create view report_v1.transaction_trace with (security_barrier = true) as
select p.merchant_id, p.id as payment_id, t.*
from payments p
cross join lateral (
  with webhook as materialized (
    -- a provider event belongs to a payment by our own id in its metadata or by the provider's reference
    select w.merchant_id, w.id, w.received_at, w.type, w.provider_event_id, w.body_sha256
    from webhooks w where w.payment_id = p.id and w.payment_merchant_id = p.merchant_id
    union all
    select w.merchant_id, w.id, w.received_at, w.type, w.provider_event_id, w.body_sha256
    from webhooks w
    where w.payment_ref = p.provider_ref and w.provider = p.provider and w.account = p.provider_account
      and (w.payment_id, w.payment_merchant_id) is distinct from (p.id, p.merchant_id)
  ), event as materialized (
    -- one of a webhook that names no payment says only which webhook
    select e.merchant_id, e.id, e.occurred_at, e.topic, e.payload ->> 'previous_state' as from_state,
      e.payload ->> 'state' as to_state, e.correlation_id, e.causation_id,
      coalesce('operation ' || e.operation_id, 'refund ' || e.refund_id, 'dispute ' || e.dispute_id,
        'version ' || e.payment_version) as ref,
      (e.payload ->> 'amount')::bigint as amount, p.currency
    from events e where e.merchant_id = p.merchant_id and e.payment_id = p.id
    union all
    select e.merchant_id, e.id, e.occurred_at, e.topic, null, null, e.correlation_id, e.causation_id,
      'webhook ' || e.webhook_id, null, null
    from webhook w
    join events e on e.merchant_id = w.merchant_id and e.webhook_id = w.id
    where e.payment_id is null
  ), operation as materialized (
    select o.merchant_id, o.id, o.created_at, o.kind, o.status, o.reason, coalesce(o.outcome_code, o.outcome) as ref,
      o.amount, o.params_sha256
    from operations o where o.merchant_id = p.merchant_id and o.payment_id = p.id
  )
  select a.recorded_at as at, case a.entity_type when 'payment' then 'history' else 'audit' end as source,
    a.id::text as evidence_id, a.action as what,
    case when a.entity_type in ('payment', 'refund', 'dispute') then a.body::jsonb #>> '{before,state}' end as from_state,
    case when a.entity_type in ('payment', 'refund', 'dispute') then a.body::jsonb #>> '{after,state}' end as to_state,
    a.actor_type, a.actor_id, a.on_behalf_of, a.reason, a.correlation_id, a.causation_id,
    case a.entity_type when 'payment' then 'version ' || a.payment_version else a.entity_type || ' ' || a.entity_id end as ref,
    null::bigint as amount, p.currency, a.payload_sha256, a.row_sha256 = audit_row_sha256(a) as hash_ok
  from audit_log a where a.merchant_id = p.merchant_id and a.payment_id = p.id
  union all
  select a.recorded_at, 'audit', a.id::text, a.action, null, null, a.actor_type, a.actor_id, a.on_behalf_of, a.reason,
    a.correlation_id, a.causation_id, a.entity_type || ' ' || a.entity_id, null, null, a.payload_sha256,
    a.row_sha256 = audit_row_sha256(a)
  from webhook w
  join audit_log a on a.merchant_id = w.merchant_id and a.entity_type = 'webhook' and a.entity_id = w.id::text
    and a.payment_id is null
  union all
  select e.occurred_at, 'event', e.id::text, e.topic, e.from_state, e.to_state, null, null, null, null,
    e.correlation_id, e.causation_id, e.ref, e.amount, e.currency, null, null
  from event e
  union all
  select coalesce(d.done_at, d.dead_at, d.created_at), 'delivery', d.event_id || ':' || d.handler,
    d.topic || ' -> ' || d.handler, null, d.status, case when d.resolution is not null then 'operator' end, d.resolved_by,
    null, coalesce(d.resolved_reason, d.dead_reason, d.deferred_for), null, d.event_id::text,
    d.runs || ' runs, ' || d.failures || ' failures, ' || d.deferrals || ' deferrals', null, null, null, null
  from event e
  join deliveries d on d.merchant_id = e.merchant_id and d.event_id = e.id
  union all
  select f.failed_at, 'dlq', f.id::text, f.handler || ' failed: ' || f.error_class, null, null, null, null, null, f.message,
    null, f.event_id::text, f.event_id || ':' || f.handler, null, null, null, null
  from event e
  join delivery_failures f on f.merchant_id = e.merchant_id and f.event_id = e.id
  union all
  select o.created_at, 'operation', o.id::text, o.kind, null, o.status, null, null, null, o.reason, null, null, o.ref,
    o.amount, p.currency, o.params_sha256, null
  from operation o
  union all
  select n.first_sent_at, 'attempt', n.idempotency_key, n.step || ' attempt ' || n.n, null, null, null, null, null,
    'proof: call ' || n.proof_call_id, null, n.operation_id::text, n.idempotency_key, null, null, null, null
  from operation o
  join operation_attempts n on n.merchant_id = o.merchant_id and n.operation_id = o.id
  union all
  select c.sent_at, 'provider_call', c.id::text, c.method || ' ' || c.path, null,
    coalesce(c.outcome || coalesce(' ' || c.http_status, ''), 'open'), null, null, null, c.error_detail, null,
    c.operation_id::text, coalesce(c.idempotency_key, c.provider_request_id), null, null, c.request_sha256, null
  from provider_calls c where c.merchant_id = p.merchant_id and c.payment_id = p.id
  union all
  select w.received_at, 'webhook', w.id::text, w.type, null, null, null, null, null, null, null, null, w.provider_event_id,
    null, null, w.body_sha256, null
  from webhook w
  union all
  select t.recorded_at, 'provider_transaction', t.ref, t.kind, null, t.status, null, null, null, null, null, t.source_ref,
    t.ref, t.gross, t.currency, null, null
  from provider_transactions t where t.merchant_id = p.merchant_id and t.payment_id = p.id
) t;

comment on view report_v1.transaction_trace is
  'Every piece of evidence about a payment, once each: ask by payment_id, order by at. Times are UTC, amounts minor units.';
comment on column report_v1.transaction_trace.merchant_id is 'Whose payment it is.';
comment on column report_v1.transaction_trace.payment_id is 'The payment the evidence is about.';
comment on column report_v1.transaction_trace.at is 'When it happened; a delivery stands where it ended, or where it began while it is pending.';
comment on column report_v1.transaction_trace.source is
  'history (the payment''s own audit), audit (any other entry), event, delivery, dlq (a failure), operation, attempt, provider_call, webhook, provider_transaction.';
comment on column report_v1.transaction_trace.evidence_id is 'Names the row within its source; (source, evidence_id) occurs once per payment.';
comment on column report_v1.transaction_trace.what is 'What happened, in the words of the source.';
comment on column report_v1.transaction_trace.from_state is 'The state before of the payment, refund or dispute, where the evidence says so.';
comment on column report_v1.transaction_trace.to_state is 'The state after of the payment, refund or dispute; of a delivery, operation, call or money line its status.';
comment on column report_v1.transaction_trace.actor_type is 'api, worker, webhook, reconciler, operator or system.';
comment on column report_v1.transaction_trace.actor_id is 'The key, handler, sweep or person that acted.';
comment on column report_v1.transaction_trace.on_behalf_of is 'The operator behind a reconciler.';
comment on column report_v1.transaction_trace.reason is 'Why: an operator''s words, a refusal or the message of a failure.';
comment on column report_v1.transaction_trace.correlation_id is 'The thread the evidence belongs to: of a payment''s it is the payment.';
comment on column report_v1.transaction_trace.causation_id is 'What caused it: the trace of a request, an event, an operation or a provider event.';
comment on column report_v1.transaction_trace.ref is 'What it points at: a version, an entity, an idempotency key, a provider''s id.';
comment on column report_v1.transaction_trace.amount is 'Minor units of currency, where the evidence carries an amount.';
comment on column report_v1.transaction_trace.currency is 'ISO 4217, lower case.';
comment on column report_v1.transaction_trace.payload_sha256 is 'SHA-256 of the original bytes or parameters, hex.';
comment on column report_v1.transaction_trace.hash_ok is 'Whether an audit entry still has the hash it was written with; null for other sources.';
