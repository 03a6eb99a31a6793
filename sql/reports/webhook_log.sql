-- Every provider event we believed, and how often we refused one: per account and second, strangers must not fill it.
drop view if exists report_v1.webhook_log;
create view report_v1.webhook_log with (security_barrier = true) as
select w.received_at, w.merchant_id, w.provider, w.account, w.provider_event_id as event_id, w.type, true as signature_ok,
  null::bigint as refusals, w.payment_id, w.payment_ref, w.object_id, w.livemode,
  (select count(*) from events e join deliveries d on d.merchant_id = e.merchant_id and d.event_id = e.id
   where e.merchant_id = w.merchant_id and e.webhook_id = w.id) as deliveries,
  round(extract(epoch from w.received_at - w.created_at_provider), 3) as lag_s,
  handled.processed_at, coalesce(handled.outcome, 'unrouted') as outcome, w.body_sha256
from webhooks w
left join lateral (
  select case when bool_and(d.status = 'done') then max(d.done_at) end as processed_at,
    case when bool_or(d.status = 'dead') then 'dead' when bool_and(d.status = 'done') then 'done' else 'pending' end as outcome
  from events e join deliveries d on d.merchant_id = e.merchant_id and d.event_id = e.id
  where e.merchant_id = w.merchant_id and e.webhook_id = w.id
  having count(*) > 0
) handled on true
union all
select r.second, r.merchant_id, r.provider, r.account, null, null, false, r.count, null, null, null, null, 0, null, null,
  'refused: ' || r.reason, null
from webhook_rejections r;

comment on view report_v1.webhook_log is 'One row per provider event that was believed, and one per account and second in which any was refused.';
comment on column report_v1.webhook_log.received_at is 'When we stored it; of refusals the second they fell into.';
comment on column report_v1.webhook_log.merchant_id is 'Who owns the provider account; the platform when it is shared.';
comment on column report_v1.webhook_log.provider is 'Who sent it.';
comment on column report_v1.webhook_log.account is 'Under which account.';
comment on column report_v1.webhook_log.event_id is 'The provider''s id of the event; null for refusals.';
comment on column report_v1.webhook_log.type is 'The provider''s kind of event.';
comment on column report_v1.webhook_log.signature_ok is 'True for every stored event: one that does not verify is never stored, only counted.';
comment on column report_v1.webhook_log.refusals is 'How many were refused in that second; null for a stored event.';
comment on column report_v1.webhook_log.payment_id is 'Our payment, as the event''s metadata names it.';
comment on column report_v1.webhook_log.payment_ref is 'The provider''s id of the payment.';
comment on column report_v1.webhook_log.object_id is 'The provider''s id of the object that changed.';
comment on column report_v1.webhook_log.livemode is 'Real money.';
comment on column report_v1.webhook_log.deliveries is 'How many of our handlers were to act on it.';
comment on column report_v1.webhook_log.lag_s is 'Seconds between the provider''s event and our receipt.';
comment on column report_v1.webhook_log.processed_at is 'When the last handler was done; null before.';
comment on column report_v1.webhook_log.outcome is 'pending, done, dead, unrouted, or why it was refused.';
comment on column report_v1.webhook_log.body_sha256 is 'SHA-256 of the body as received, hex.';
