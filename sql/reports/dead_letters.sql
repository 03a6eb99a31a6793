-- Every delivery that is dead or was handled by a person; group by bucket and handler for the ageing.
drop view if exists report_v1.dead_letters;
create view report_v1.dead_letters with (security_barrier = true) as
select
  case when d.status <> 'dead' or d.resolution is not null then 'resolved'
       when d.dead_at > clock_timestamp() - interval '1 hour' then 'under 1 h'
       when d.dead_at > clock_timestamp() - interval '1 day' then 'under 1 d'
       when d.dead_at > clock_timestamp() - interval '7 days' then 'under 7 d'
       else 'over 7 d' end as bucket,
  d.handler, d.topic, d.merchant_id, d.event_id, d.payment_id, d.status, d.dead_at, d.dead_reason, d.failures, d.rescues,
  last_failure.failed_at as last_failed_at, last_failure.error_class, last_failure.message,
  p.currency, case when d.status = 'dead' and d.resolution is null then p.amount end as amount_at_risk, p.state as payment_state,
  d.resolution, d.resolved_by, d.resolved_at, d.resolved_reason
from deliveries d
left join payments p on p.merchant_id = d.merchant_id and p.id = d.payment_id
left join lateral (
  select f.failed_at, f.error_class, f.message from delivery_failures f
  where f.merchant_id = d.merchant_id and f.event_id = d.event_id and f.handler = d.handler
  order by f.id desc limit 1
) last_failure on true
where d.status = 'dead' or d.resolution is not null;

comment on view report_v1.dead_letters is 'One row per delivery that is dead, or was dead and replayed or discarded by a person.';
comment on column report_v1.dead_letters.bucket is 'How long it has been dead and unhandled, or resolved.';
comment on column report_v1.dead_letters.handler is 'Which handler gave up.';
comment on column report_v1.dead_letters.topic is 'On which kind of event.';
comment on column report_v1.dead_letters.merchant_id is 'Whose event; the platform''s when it came before routing.';
comment on column report_v1.dead_letters.event_id is 'The event; (event_id, handler) names the delivery.';
comment on column report_v1.dead_letters.payment_id is 'The payment, when the event is about one.';
comment on column report_v1.dead_letters.status is 'dead, or what became of it after a replay.';
comment on column report_v1.dead_letters.dead_at is 'When it died; null after a replay.';
comment on column report_v1.dead_letters.dead_reason is 'failures, crash, misuse or deferred; null after a replay.';
comment on column report_v1.dead_letters.failures is 'Raised failures since it was last armed.';
comment on column report_v1.dead_letters.rescues is 'How often its worker died since it was last armed.';
comment on column report_v1.dead_letters.last_failed_at is 'When it last failed.';
comment on column report_v1.dead_letters.error_class is 'What was raised last.';
comment on column report_v1.dead_letters.message is 'What it said.';
comment on column report_v1.dead_letters.currency is 'ISO 4217, lower case.';
comment on column report_v1.dead_letters.amount_at_risk is 'The payment''s amount in minor units while nobody has handled the letter.';
comment on column report_v1.dead_letters.payment_state is 'The payment''s state now.';
comment on column report_v1.dead_letters.resolution is 'replayed or discarded.';
comment on column report_v1.dead_letters.resolved_by is 'Who did.';
comment on column report_v1.dead_letters.resolved_at is 'When they did.';
comment on column report_v1.dead_letters.resolved_reason is 'Why, in their words.';
