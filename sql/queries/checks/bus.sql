-- name: events_tell_the_history
-- Payments whose events are not exactly those of the edges and milestones their audit entries walked, or whose spine is out of order.
with steps as (
  select a.merchant_id, a.payment_id, a.payment_version as version,
         a.body::jsonb #>> '{before,state}' as from_state, a.body::jsonb #>> '{after,state}' as to_state,
         a.body::jsonb #>> '{after,settled_at}' is not null as settles
  from audit_log a
  where a.entity_type = 'payment' and (%(payment_id)s::uuid is null or a.payment_id = %(payment_id)s)
),
walked as (
  select s.*, t.event, t.from_state is null as off_the_map,
         lag(s.to_state) over (partition by s.merchant_id, s.payment_id order by s.version) as came_from
  from steps s
  left join payment_transitions t on t.from_state = s.from_state and t.to_state = s.to_state
  where s.to_state is not null
),
expected as (
  select merchant_id, payment_id, version, coalesce(event, 'payment.initiated') as topic from walked
  where (event is not null and event <> 'payment.settled') or version = 1
  union all
  select merchant_id, payment_id, version, 'payment.settled' from steps where settles
),
told as (
  select e.merchant_id, e.payment_id, e.payment_version as version, e.topic,
         row_number() over (partition by e.merchant_id, e.payment_id order by e.payment_version, e.id) as place
  from events e
  where e.payment_version is not null and e.topic <> 'payment.observation_due'
    and (%(payment_id)s::uuid is null or e.payment_id = %(payment_id)s)
),
spine as (
  select merchant_id, payment_id,
         min(place) filter (where topic = 'payment.initiated') as initiated,
         min(place) filter (where topic = 'payment.provider_submitted') as submitted,
         min(place) filter (where topic = 'payment.confirmed') as confirmed,
         min(place) filter (where topic = 'payment.settled') as settled,
         bool_or(topic in ('payment.adopted', 'payment.return_reversed')) as confirmed_otherwise
  from told group by merchant_id, payment_id
)
select merchant_id, payment_id, format('version %%s: %%s -> %%s is no edge', version, from_state, to_state) as detail
from walked where version > 1 and off_the_map
union all
select merchant_id, payment_id, format('version %%s leaves %%s, but the payment was %%s', version, from_state, came_from)
from walked where version > 1 and came_from is distinct from from_state
union all
select coalesce(x.merchant_id, t.merchant_id), coalesce(x.payment_id, t.payment_id),
       format('version %%s: %%s %%s', coalesce(x.version, t.version), coalesce(x.topic, t.topic),
              case when t.topic is null then 'is missing' when x.topic is null then 'was never true' else 'is there more than once' end)
from expected x
full join (select merchant_id, payment_id, version, topic, count(*) as times from told group by 1, 2, 3, 4) t
  on t.merchant_id = x.merchant_id and t.payment_id = x.payment_id and t.version = x.version and t.topic = x.topic
where x.topic is null or t.topic is null or t.times <> 1
union all
select merchant_id, payment_id, 'initiated, provider_submitted, confirmed, settled are out of order'
from spine
where not confirmed_otherwise and (
  initiated is distinct from 1
  or (confirmed is not null and coalesce(submitted >= confirmed, true))
  or (settled is not null and coalesce(confirmed >= settled, true)))
limit %(limit)s;

-- name: events_are_delivered_to_subscribers
-- Events without exactly the deliveries owed to the handlers subscribed when they happened.
with owed as (
  select e.merchant_id, e.id as event_id, s.handler, e.topic, s.lane, e.payment_id
  from events e
  join subscriptions s on s.topic = e.topic and s.subscribed_at <= e.occurred_at
  where %(payment_id)s::uuid is null or e.payment_id = %(payment_id)s
)
select o.merchant_id, o.payment_id, format('event %%s (%%s) has no delivery to %%s', o.event_id, o.topic, o.handler) as detail
from owed o
where not exists (
  select from deliveries d
  where d.merchant_id = o.merchant_id and d.event_id = o.event_id and d.handler = o.handler
    and d.topic = o.topic and d.lane = o.lane and d.payment_id is not distinct from o.payment_id)
union all
select d.merchant_id, d.payment_id, format('delivery %%s:%%s of %%s was owed to nobody', d.event_id, d.handler, d.topic)
from deliveries d
where (%(payment_id)s::uuid is null or d.payment_id = %(payment_id)s)
  and not exists (select from subscriptions s where s.topic = d.topic and s.handler = d.handler)
limit %(limit)s;

-- name: deliveries_move
-- Pending deliveries whose job is gone or whose due time has passed, beyond the grace; when quiesced any at all.
select d.merchant_id, d.payment_id,
       format('%%s:%%s pending, %%s, due %%s%%s', d.event_id, d.handler, coalesce('job ' || d.job_id, 'no job'), d.due_at,
              coalesce(', waits for ' || d.deferred_for, '')) as detail
from deliveries d
where d.status = 'pending' and (%(payment_id)s::uuid is null or d.payment_id = %(payment_id)s)
  and case
    when %(quiesced)s then true
    when d.due_at > clock_timestamp() - make_interval(secs => %(grace)s) then false
    when d.job_id is null then true
    else not exists (select from procrastinate_jobs j where j.id = d.job_id and j.status in ('todo', 'doing')) end
limit %(limit)s;

-- name: ended_deliveries_hold_no_job
-- Deliveries that are done or dead and still name a job.
select merchant_id, payment_id, format('%%s:%%s is %%s and holds job %%s', event_id, handler, status, job_id) as detail
from deliveries
where status <> 'pending' and job_id is not null and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
limit %(limit)s;

-- name: dead_letters_are_handled
-- When quiesced: dead deliveries that no person has replayed or discarded.
select merchant_id, payment_id, format('%%s:%%s is dead (%%s) since %%s', event_id, handler, dead_reason, dead_at) as detail
from deliveries
where %(quiesced)s and status = 'dead' and resolution is null and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
limit %(limit)s;

-- name: webhooks_became_events
-- Stored provider events without exactly one webhook.received event.
select w.merchant_id, w.payment_id, format('webhook %%s (%%s) has %%s events', w.provider_event_id, w.type, count(e.id)) as detail
from webhooks w
left join events e on e.merchant_id = w.merchant_id and e.webhook_id = w.id and e.topic = 'webhook.received'
where %(payment_id)s::uuid is null or w.payment_id = %(payment_id)s
group by w.merchant_id, w.id
having count(e.id) <> 1
limit %(limit)s;

-- name: idempotency_keys_hold_an_answer
-- Keys of committed requests without the answer they gave.
select merchant_id, null::uuid as payment_id, format('key %%s', key) as detail
from idempotency_keys
where status is null and %(payment_id)s::uuid is null
limit %(limit)s;
