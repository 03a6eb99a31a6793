-- name: claim
-- A job may run its delivery only while the delivery still names this job; says what it is about and whether it is paused.
-- Here and below that it is pending stands in a CASE, so that a delivery is found by its key and by no index of what waits:
-- next to nothing waits when tables are counted, and that index holds all that is done, too, for as long as an old snapshot
-- sees it.
update deliveries d set runs = d.runs + 1
from events e
where d.merchant_id = %(merchant_id)s and d.event_id = %(event_id)s and d.handler = %(handler)s
  and case when d.status = 'pending' then d.job_id end = %(job_id)s
  and e.merchant_id = d.merchant_id and e.id = d.event_id
returning d.merchant_id, d.event_id, d.handler, d.topic, d.lane, d.payment_id, d.failures, d.deferrals, d.alone,
  e.operation_id, e.webhook_id, e.payload, e.causation_id as caused_by,
  -- what follows is of the event's thread
  nullif(set_config('postbox.correlation_id', coalesce(e.correlation_id, ''), true), '') as correlation_id,
  exists (select from pauses_of(d.handler, d.merchant_id, case d.lane when 'remote' then %(provider)s end)) as paused;

-- name: finish
-- The effect and its mark commit together.
update deliveries set status = 'done', done_at = clock_timestamp(), job_id = null
where merchant_id = %(merchant_id)s and event_id = %(event_id)s and handler = %(handler)s
  and case when status = 'pending' then event_id end = %(event_id)s;

-- name: defer
-- Uncounted waiting: a due time and no job. Up to the longest, a wait grows with the time already waited.
-- A delivery deferred past the cap is a dead letter; an operator's pause stops that clock.
update deliveries set
  job_id = null,
  due_at = clock_timestamp() + make_interval(secs => least(
    greatest(%(seconds)s::float8, extract(epoch from clock_timestamp() - deferred_since)::float8 / 2), %(longest)s::float8)),
  deferrals = deferrals + 1,
  deferred_for = %(why)s,
  deferred_since = case when %(capped)s then coalesce(deferred_since, clock_timestamp()) end,
  status = case when %(capped)s and deferred_since < clock_timestamp() - make_interval(secs => %(cap)s) then 'dead' else status end,
  dead_at = case when %(capped)s and deferred_since < clock_timestamp() - make_interval(secs => %(cap)s) then clock_timestamp() end,
  dead_reason = case when %(capped)s and deferred_since < clock_timestamp() - make_interval(secs => %(cap)s) then 'deferred' end
where merchant_id = %(merchant_id)s and event_id = %(event_id)s and handler = %(handler)s
  and case when status = 'pending' then job_id end = %(job_id)s;

-- name: put_off_paused
-- Among the next local jobs of this merchant, whatever waits for an operator.
select put_off_paused(%(merchant_id)s, %(oldest)s, %(limit)s, %(recheck)s, %(longest)s);

-- name: bury
-- A dead letter at once, for a person to look at.
update deliveries set status = 'dead', dead_at = clock_timestamp(), dead_reason = %(reason)s, job_id = null
where merchant_id = %(merchant_id)s and event_id = %(event_id)s and handler = %(handler)s
  and case when status = 'pending' then event_id end = %(event_id)s;

-- name: count_failure
-- One more raised failure; the one that reaches the limit makes a dead letter.
update deliveries set
  failures = failures + 1,
  job_id = null,
  due_at = clock_timestamp() + make_interval(secs => %(backoff)s),
  status = case when failures + 1 >= %(limit)s then 'dead' else 'pending' end,
  dead_at = case when failures + 1 >= %(limit)s then clock_timestamp() end,
  dead_reason = case when failures + 1 >= %(limit)s then 'failures' end
where merchant_id = %(merchant_id)s and event_id = %(event_id)s and handler = %(handler)s
  and case when status = 'pending' then job_id end = %(job_id)s
returning status, failures;

-- name: record_failure
-- What was raised, where and when; kept after a replay.
insert into delivery_failures (merchant_id, event_id, handler, error_class, message, traceback)
values (%(merchant_id)s, %(event_id)s, %(handler)s, %(error_class)s, %(message)s, %(traceback)s);

-- name: promote
-- Enqueue what is due: waiting is over, a job is made. A page of it, merchants in turn, starting after the one served last; says
-- whether some have more. What is paused waits on, the longer the pause has lasted.
with recursive merchants_after as (
  (select d.merchant_id from deliveries d
   where d.status = 'pending' and d.job_id is null and d.merchant_id > %(after)s and d.due_at <= statement_timestamp()
   order by d.merchant_id, d.due_at limit 1)
  union all
  select (select d.merchant_id from deliveries d
          where d.status = 'pending' and d.job_id is null and d.merchant_id > m.merchant_id and d.due_at <= statement_timestamp()
          order by d.merchant_id, d.due_at limit 1)
  from merchants_after m where m.merchant_id is not null
),
merchants_from_start as (
  (select d.merchant_id from deliveries d
   where d.status = 'pending' and d.job_id is null and d.merchant_id <= %(after)s and d.due_at <= statement_timestamp()
   order by d.merchant_id, d.due_at limit 1)
  union all
  select (select d.merchant_id from deliveries d
          where d.status = 'pending' and d.job_id is null and d.merchant_id > m.merchant_id and d.merchant_id <= %(after)s
            and d.due_at <= statement_timestamp()
          order by d.merchant_id, d.due_at limit 1)
  from merchants_from_start m where m.merchant_id is not null
),
turns as (
  select merchant_id, row_number() over () as turn from (
    (select merchant_id from merchants_after where merchant_id is not null limit %(limit)s)
    union all
    (select merchant_id from merchants_from_start where merchant_id is not null limit %(limit)s)
  ) everyone
  limit %(limit)s
),
shares as (
  select turn, merchant_id, ceil(%(limit)s::numeric / (select count(*) from turns))::integer as share from turns
),
page as (
  select shares.turn, shares.share, found.*
  from shares
  cross join lateral (
    select d.merchant_id, d.event_id, d.handler, d.lane,
           (select max(p.paused_at)
            from pauses_of(d.handler, d.merchant_id, case d.lane when 'remote' then %(provider)s end) p) as paused_at
    from deliveries d
    where d.status = 'pending' and d.job_id is null
      and d.merchant_id = shares.merchant_id and d.due_at <= statement_timestamp()
    order by d.due_at
    limit shares.share
    for update of d skip locked
  ) found
  order by shares.turn
  limit %(limit)s
),
due as (
  -- numbered when the page is cut, and by a key: the number is where a delivery finds its job
  select page.*, row_number() over (partition by paused_at is null order by turn, event_id, handler) as place from page
),
enqueued as (
  select enqueue_deliveries(array_agg(merchant_id order by place), array_agg(event_id order by place),
    array_agg(handler order by place), array_agg(lane order by place)) as jobs
  from due
  where paused_at is null
  having count(*) > 0
),
moved as (
  update deliveries d set
    job_id = case when due.paused_at is null then enqueued.jobs[due.place] end,
    due_at = case when due.paused_at is null then d.due_at else clock_timestamp() + make_interval(secs => least(
      %(pause_longest)s::float8,
      greatest(%(pause_recheck)s::float8, extract(epoch from clock_timestamp() - due.paused_at)::float8 / 2))) end,
    deferred_for = case when due.paused_at is null then d.deferred_for else 'paused' end,
    deferred_since = case when due.paused_at is null then d.deferred_since end
  from due
  left join enqueued on true
  where d.merchant_id = due.merchant_id and d.event_id = due.event_id and d.handler = due.handler
  returning 1
)
select (select count(*) from moved) as promoted,
       (select count(*) from due) = %(limit)s or exists (select from due group by turn, share having count(*) >= share) as more,
       last.merchant_id, last.event_id, last.handler
from (select 1) one
left join lateral (select * from due order by turn desc limit 1) last on true;

-- name: fetch_job
-- The next job of these queues for this worker: merchants take turns, starting after the one served last; whether more wait there, and
-- whether any wait in the others. One row, of nulls when there is no job.
select job.id, job.queue_name, job.task_name, job.args, job.attempts,
  job.id is not null and waits_in(%(queues)s::text[], %(oldest)s) as more, waits_in(%(others)s::text[], %(oldest)s) as others
from (select) one
left join fetch_in_turn(%(queues)s::text[], %(after)s, %(oldest)s, %(worker_id)s) job on true;

-- name: oldest_job
-- The first job that is not over, from this number on; what is gone before it nobody has to read past again.
select id from procrastinate_jobs where id >= %(since)s and status in ('todo', 'doing') order by id limit 1;

-- name: start_group
-- What a group begins with: the carrier's own delivery, unless another has run it, and siblings, a few of each merchant in turn,
-- starting after the merchant served last.
select * from start_group(%(whose)s, %(event_id)s, %(handler)s, %(job_id)s, %(after)s, %(oldest)s, %(limit)s,
  %(handlers)s::text[]);

-- name: served
-- How many requests the API has served; what it says is whether there was one more.
select last_value + is_called::integer as served from requests_served;

-- name: take_slot
-- While somebody is served, groups of all workers share a few slots, each taken until its COMMIT: whether one was free.
select exists (
  select from generate_series(1, %(slots)s::integer) slot
  where pg_try_advisory_xact_lock(hashtextextended('postbox group ' || slot, 0))
) as taken;

-- name: lock_again
-- The same deliveries once more, for a rerun in halves, with what of their payments is free; what changed meanwhile is left out.
with again as materialized (
  select d.merchant_id, d.event_id, d.handler, d.payment_id, d.job_id, d.topic
  from deliveries d
  join unnest(%(merchant_ids)s::uuid[], %(event_ids)s::uuid[], %(handlers)s::text[], %(job_ids)s::bigint[])
    as w (merchant_id, event_id, handler, job_id)
    on w.merchant_id = d.merchant_id and w.event_id = d.event_id and w.handler = d.handler
      and w.job_id = case when d.status = 'pending' then d.job_id end
  order by d.merchant_id, d.event_id, d.handler
  for update of d skip locked
)
select a.*, a.payment_id is null or p.id is not null as free
from (select * from again order by merchant_id, payment_id) a
left join lateral (
  select q.id from payments q where q.merchant_id = a.merchant_id and q.id = a.payment_id
  for no key update skip locked
) p on true
order by a.merchant_id, a.event_id, a.handler;

-- name: run_batch
-- Run these deliveries of one handler, no two of them about the same payment.
select run_local_batch(%(handler)s, %(actor_type)s, %(merchant_ids)s::uuid[], %(event_ids)s::uuid[], %(payment_ids)s::uuid[],
  %(card)s, %(bank)s);

-- name: finish_group
-- The books of a group, the marks of its deliveries and the end of their wake-ups, the carrier's own as well where it is ours.
select finish_group(%(merchant_ids)s::uuid[], %(event_ids)s::uuid[], %(handlers)s::text[], %(job_ids)s::bigint[], %(own)s,
  %(worker_id)s);

-- name: lost_jobs
-- One page of pending deliveries by key, of the events from this one on, and of those the ones whose job is gone: they are made
-- due again. When the first event of the page was, or now. What is left of one merchant and all of the others are looked for
-- apart: so each merchant is entered in the index at the first of these events, whatever is there of those before.
with page as (
  (select d.merchant_id, d.event_id, d.handler, d.job_id
   from deliveries d
   where d.status = 'pending' and d.job_id is not null and d.lane = %(lane)s
     and d.merchant_id = %(merchant_id)s and (d.event_id, d.handler) > (%(event_id)s, %(handler)s)
   order by d.lane, d.merchant_id, d.event_id, d.handler
   limit %(limit)s)
  union all
  (select d.merchant_id, d.event_id, d.handler, d.job_id
   from deliveries d
   where d.status = 'pending' and d.job_id is not null and d.lane = %(lane)s
     and d.merchant_id > %(merchant_id)s and d.event_id >= %(since)s
   order by d.lane, d.merchant_id, d.event_id, d.handler
   limit %(limit)s)
  limit %(limit)s
),
rearmed as (
  update deliveries d set job_id = null, due_at = clock_timestamp()
  from page
  where d.merchant_id = page.merchant_id and d.event_id = page.event_id and d.handler = page.handler
    -- in a CASE, so that it is found by its key and by no index of what waits: that one holds all that is done, too, for as
    -- long as an old snapshot sees it
    and case when d.status = 'pending' then d.job_id end = page.job_id
    -- one by one: joined, all jobs there are would be read for those of the page
    and (select count(*) from procrastinate_jobs j
         where j.id = page.job_id and case when j.status in ('todo', 'doing') then j.id end = page.job_id) = 0
  returning 1
)
select (select count(*) from page) as seen, (select count(*) from rearmed) as rearmed,
       least((select uuid_extract_timestamp(event_id) from page order by event_id limit 1), statement_timestamp()) as first_at,
       last.merchant_id, last.event_id, last.handler
from (select 1) one
left join lateral (select * from page order by merchant_id desc, event_id desc, handler desc limit 1) last on true;

-- name: stalled
-- Jobs whose worker is silent: dead, cut off, or killed by a deploy. In no order that leads through all that waits to run.
select j.id as job_id, (j.args ->> 'merchant_id')::uuid as merchant_id, (j.args ->> 'event_id')::uuid as event_id,
       j.args ->> 'handler' as handler
from procrastinate_jobs j
left join procrastinate_workers w on w.id = j.worker_id
where j.status = 'doing'
  and (w.id is null or w.last_heartbeat < clock_timestamp() - make_interval(secs => %(silent_for)s))
order by j.worker_id, j.id
limit %(limit)s
for update of j skip locked;

-- name: delete_job
-- The job of a dead worker; its delivery gets a new one.
delete from procrastinate_jobs where id = %(job_id)s;

-- name: rescue
-- A delivery whose worker died runs again, alone; the twentieth time it is a dead letter. The first time at once, then ever
-- later and never quite when another does, so that what kills its worker stops taking the same neighbours along.
update deliveries set
  rescues = rescues + 1,
  alone = true,
  job_id = null,
  due_at = clock_timestamp() + make_interval(secs => rescues * %(spread)s * (0.5 + random())),
  status = case when rescues + 1 >= %(limit)s then 'dead' else 'pending' end,
  dead_at = case when rescues + 1 >= %(limit)s then clock_timestamp() end,
  dead_reason = case when rescues + 1 >= %(limit)s then 'crash' end
where merchant_id = %(merchant_id)s and event_id = %(event_id)s and handler = %(handler)s
  and case when status = 'pending' then job_id end = %(job_id)s
returning status;

-- name: hurry
-- Something happened that this payment's waiting remote deliveries wait for: they are due now.
update deliveries set due_at = clock_timestamp()
where merchant_id = %(merchant_id)s and payment_id = %(payment_id)s and status = 'pending'
  -- in a CASE, so that it is looked for among what is open of its payment, and not among all that waits
  and handler in ('submit_payment', 'run_operation', 'close_intent') and case when job_id is null then due_at end > clock_timestamp();

-- name: finish_answered
-- An observation has answered every webhook about its object that came before it began: those that wait for it and those that
-- nobody has begun end here, with their jobs. One that is to run by itself is left to itself.
with answered as (
  select d.merchant_id, d.event_id, d.handler, d.job_id
  from webhooks w
  join events e on e.merchant_id = w.merchant_id and e.webhook_id = w.id
  join deliveries d on d.merchant_id = e.merchant_id and d.event_id = e.id and d.handler = 'apply_webhook'
  where w.payment_ref = %(ref)s and w.provider = %(provider)s and w.account = %(account)s
    and w.received_at <= %(asked_at)s and (%(whole)s or not w.type ^@ any (%(child_events)s::text[]))
    and case when d.status = 'pending' then d.event_id end = e.id and not d.alone and d.failures = 0
    and not exists (select from pauses_of(d.handler, d.merchant_id, w.provider))
  for update of d skip locked
),
freed as (
  -- an array, so that it is not joined: next to no jobs are there when tables are counted, and all would be read for a few
  delete from procrastinate_jobs j
  where j.id = any (array(select a.job_id from answered a)) and case when j.status = 'todo' then true end
  returning j.id
)
update deliveries d set status = 'done', done_at = clock_timestamp(), job_id = null, runs = d.runs + 1
from answered a
where d.merchant_id = a.merchant_id and d.event_id = a.event_id and d.handler = a.handler
  and (a.job_id is null or a.job_id in (select id from freed));

-- name: finish_job
-- A job ends only in the hands of the worker that holds it; no row means it was taken over, which is normal. In a CASE, so that
-- it is found by its key and by no index of what runs: an old snapshot keeps all that ever ran in there.
delete from procrastinate_jobs
where id = %(job_id)s and case when status = 'doing' then worker_id is not distinct from %(worker_id)s end;

-- name: failures_of
-- How often a delivery has failed since it was made or replayed.
select failures from deliveries where merchant_id = %(merchant_id)s and event_id = %(event_id)s and handler = %(handler)s;
