-- Every HTTP request to a provider; one without an end was cut off by a crash or is under way.
drop view if exists report_v1.provider_call_log;
create view report_v1.provider_call_log with (security_barrier = true) as
select c.sent_at as at, c.finished_at, c.merchant_id, c.payment_id, c.operation_id, o.kind as operation, c.step, c.attempt,
  c.provider, c.account, c.method, c.path, c.idempotency_key, c.replayed, coalesce(c.outcome, 'open') as outcome,
  c.http_status as status, c.error_class, c.duration_ms as ms, c.provider_request_id as request_id, c.late,
  c.request_sha256, c.response_sha256, c.id as call_id
from provider_calls c
left join operations o on o.merchant_id = c.merchant_id and o.id = c.operation_id;

comment on view report_v1.provider_call_log is 'One row per HTTP request to a provider, written before it was sent.';
comment on column report_v1.provider_call_log.at is 'When it was written down to be sent.';
comment on column report_v1.provider_call_log.finished_at is 'When its end was recorded; null is an open call.';
comment on column report_v1.provider_call_log.merchant_id is 'For whom; the platform when for nobody in particular.';
comment on column report_v1.provider_call_log.payment_id is 'About which payment.';
comment on column report_v1.provider_call_log.operation_id is 'For which intended effect; null when only asking.';
comment on column report_v1.provider_call_log.operation is 'submit, capture, cancel, close or refund.';
comment on column report_v1.provider_call_log.step is 'Which step of it.';
comment on column report_v1.provider_call_log.attempt is 'Which idempotency key of the step; rises only with proof.';
comment on column report_v1.provider_call_log.provider is 'Whom we called.';
comment on column report_v1.provider_call_log.account is 'Under which account.';
comment on column report_v1.provider_call_log.method is 'HTTP method.';
comment on column report_v1.provider_call_log.path is 'HTTP path.';
comment on column report_v1.provider_call_log.idempotency_key is 'The key the provider was given.';
comment on column report_v1.provider_call_log.replayed is 'The provider answered from memory.';
comment on column report_v1.provider_call_log.outcome is 'ok, refused, not_executed, ambiguous, misuse, or open.';
comment on column report_v1.provider_call_log.status is 'HTTP status.';
comment on column report_v1.provider_call_log.error_class is 'What kind of error.';
comment on column report_v1.provider_call_log.ms is 'How long it took, in milliseconds.';
comment on column report_v1.provider_call_log.request_id is 'The provider''s id of the request.';
comment on column report_v1.provider_call_log.late is 'It ended after its lease was lost: evidence that changed nothing.';
comment on column report_v1.provider_call_log.request_sha256 is 'SHA-256 of the request, hex.';
comment on column report_v1.provider_call_log.response_sha256 is 'SHA-256 of the response''s original bytes, hex.';
comment on column report_v1.provider_call_log.call_id is 'Names the row.';
