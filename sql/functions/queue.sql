-- What our workers fetch by. Procrastinate's own fetch takes the oldest job of all its queues together: it reads past every
-- job of another queue, and past whatever is gone that an old snapshot may still want to see.

create or replace function fetch_in_turn(p_queues text[], p_after uuid, p_oldest bigint, p_worker_id bigint)
  returns setof procrastinate_jobs
  language plpgsql volatile
  set search_path = procrastinate, postbox, pg_temp
  -- a plan that was made while nothing waited is wrong when a million do: the index is right for both
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
as $$
declare
  -- what is not routed to a merchant yet, webhooks above all: this share of the turns however many merchants wait, which keeps up
  -- when one observation of a payment answers several, and no more while one does, for whom nothing else brings on what it asked for
  share constant float8 := 0.25;
  platform constant uuid := '00000000-0000-0000-0000-000000000000';
  v_is_platforms constant boolean := random() < share;
  v_queue text;
  v_id bigint;
begin
  foreach v_queue in array p_queues loop
    if v_is_platforms then
      select j.id into v_id from procrastinate_jobs j
      where j.queue_name = v_queue and j.status = 'todo' and (j.args ->> 'merchant_id')::uuid = platform and j.id >= p_oldest
      order by (j.args ->> 'merchant_id')::uuid, j.id limit 1
      for update skip locked;
    end if;
    if v_id is null then
      select j.id into v_id from procrastinate_jobs j
      where j.queue_name = v_queue and j.status = 'todo' and (j.args ->> 'merchant_id')::uuid > p_after and j.id >= p_oldest
      order by (j.args ->> 'merchant_id')::uuid, j.id limit 1
      for update skip locked;
    end if;
    if v_id is null then
      -- from the first merchant again
      select j.id into v_id from procrastinate_jobs j
      where j.queue_name = v_queue and j.status = 'todo' and (j.args ->> 'merchant_id')::uuid > platform and j.id >= p_oldest
      order by (j.args ->> 'merchant_id')::uuid, j.id limit 1
      for update skip locked;
    end if;
    if v_id is null then
      -- and last what is the platform's or nobody's
      select j.id into v_id from procrastinate_jobs j
      where j.queue_name = v_queue and j.status = 'todo' and j.id >= p_oldest
      order by (j.args ->> 'merchant_id')::uuid, j.id limit 1
      for update skip locked;
    end if;
    if v_id is not null then
      return query update procrastinate_jobs j set status = 'doing', worker_id = p_worker_id where j.id = v_id returning j.*;
      return;
    end if;
  end loop;
end $$;
comment on function fetch_in_turn is
  'The next job of the first of these queues that has one: the oldest of the merchant whose turn it is after this one, or, every'
  ' fourth time on average and when no merchant waits, of the platform. Jobs with'
  ' smaller numbers than the oldest that waits are not looked for.';

create or replace function waits_in(p_queues text[], p_oldest bigint) returns boolean
  language plpgsql volatile
  set search_path = procrastinate, postbox, pg_temp
  -- by the index that jobs are fetched by
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
as $$
declare
  v_queue text;
begin
  foreach v_queue in array p_queues loop
    perform from procrastinate_jobs j
    where j.queue_name = v_queue and j.status = 'todo' and j.id >= p_oldest
    order by (j.args ->> 'merchant_id')::uuid, j.id limit 1;
    if found then
      return true;
    end if;
  end loop;
  return false;
end $$;
comment on function waits_in is 'Whether these queues have a job that waits, from this number on.';

create or replace function pick_siblings(p_after uuid, p_oldest bigint, p_most integer, p_handlers text[])
  returns table (merchant_id uuid, event_id uuid, handler text, payment_id uuid, job_id bigint, topic text, share integer)
  language plpgsql volatile
  set search_path = procrastinate, postbox, pg_temp
  -- by the queue's index, from each merchant's first job on: whatever was known when the plan was made, all that waits is never
  -- looked through, or sorted, for the few that are picked
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_sort = off
as $$
#variable_conflict use_column
declare
  -- the least of all
  platform constant uuid := '00000000-0000-0000-0000-000000000000';
  -- of each merchant so many times his share are looked at: what fails again and again, and handlers that are not ours, may stand
  -- before him, and what so many other groups have picked; however many they are, each group looks past this many of them
  looks constant integer := 16;
  v_everyone uuid[] := '{}';
  v_handlers text[];
  v_merchant uuid := p_after;
  v_share integer;
begin
  -- whoever has one, from the merchant after this on and then from the first again
  for lap in 1 .. 2 loop
    if lap = 2 then
      exit when cardinality(v_everyone) = p_most;
      select (j.args ->> 'merchant_id')::uuid into v_merchant from procrastinate_jobs j
      where j.queue_name = 'local' and j.status = 'todo' and (j.args ->> 'merchant_id')::uuid >= platform and j.id >= p_oldest
      order by (j.args ->> 'merchant_id')::uuid, j.id limit 1;
      exit when not found or v_merchant > p_after;
      v_everyone := v_everyone || v_merchant;
    end if;
    while cardinality(v_everyone) < p_most loop
      -- each is entered at the oldest job that waits, not at the first that an old snapshot sees: two conditions do so, and a
      -- comparison of rows does not
      select (j.args ->> 'merchant_id')::uuid into v_merchant from procrastinate_jobs j
      where j.queue_name = 'local' and j.status = 'todo' and (j.args ->> 'merchant_id')::uuid > v_merchant and j.id >= p_oldest
      order by (j.args ->> 'merchant_id')::uuid, j.id limit 1;
      exit when not found or (lap = 2 and v_merchant > p_after);
      v_everyone := v_everyone || v_merchant;
    end loop;
  end loop;

  -- nothing is looked through for what waits for an operator
  v_everyone := array(
    select e.id from unnest(v_everyone) with ordinality e (id, turn)
    where not exists (select from pauses_of(null, e.id, null)) order by e.turn);
  v_handlers := array(select h.name from unnest(p_handlers) h (name) where not exists (select from pauses_of(h.name, null, null)));
  v_share := ceil(p_most::numeric / greatest(1, cardinality(v_everyone)));
  return query
  select picked.*, v_share
  from unnest(v_everyone) with ordinality everyone (id, turn)
  cross join lateral (
    select d.*
    from (
      select j.id, (j.args ->> 'event_id')::uuid as event_id, j.args ->> 'handler' as handler from procrastinate_jobs j
      where j.queue_name = 'local' and j.status = 'todo' and (j.args ->> 'merchant_id')::uuid = everyone.id and j.id >= p_oldest
      order by (j.args ->> 'merchant_id')::uuid, j.id
      limit v_share * looks
    ) first
    -- each for itself, so that whatever is known of them no plan begins with all deliveries of a merchant; in a CASE, so that it is
    -- found by its key and by no index of what waits: that one holds all that is done, too, for as long as an old snapshot sees it
    cross join lateral (
      select d.merchant_id, d.event_id, d.handler, d.payment_id, d.job_id, d.topic from deliveries d
      where d.merchant_id = everyone.id and d.event_id = first.event_id and d.handler = first.handler
        and case when d.status = 'pending' then d.job_id end = first.id and d.lane = 'local' and not d.alone and d.failures = 0
      for update skip locked
    ) d
    cross join lateral (
      select from procrastinate_jobs j where j.id = d.job_id and case when j.status = 'todo' then j.id end = d.job_id
      for update skip locked
    ) j
    where first.handler = any (v_handlers)
    order by first.id
    limit v_share
  ) picked
  order by everyone.turn
  limit p_most;
end $$;
comment on function pick_siblings is
  'Runnable deliveries of the local lane, locked with their jobs, so that no worker fetches what is being carried: a few of each'
  ' merchant that waits, beginning with the one whose turn it is after this one; of each some of the first that wait are looked'
  ' at, however many cannot be picked. `share`: how many of one; who had as many may have more.';

-- What the release before asks, while it still runs.
create or replace function pick_in_turn(p_after uuid, p_oldest bigint, p_most integer, p_handlers text[])
  returns table (merchant_id uuid, event_id uuid, handler text, payment_id uuid, job_id bigint, topic text)
  language sql volatile
  set search_path = procrastinate, postbox, pg_temp
as $$
  select s.merchant_id, s.event_id, s.handler, s.payment_id, s.job_id, s.topic from pick_siblings(p_after, p_oldest, p_most, p_handlers) s
$$;
comment on function pick_in_turn is 'What pick_siblings picks, without the share.';

create or replace function start_group(
  p_merchant_id uuid, p_event_id uuid, p_handler text, p_job_id bigint,
  p_after uuid, p_oldest bigint, p_most integer, p_handlers text[]
) returns table (
  merchant_id uuid, event_id uuid, handler text, payment_id uuid, job_id bigint, topic text, share integer, free boolean,
  alone boolean, failures integer, paused boolean, served bigint)
  language plpgsql volatile
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_own record;
begin
  -- it waits for the lock: a group that found the job taken has locked the delivery all the same, and whoever left it then would
  -- end the only job it has
  select d.merchant_id, d.event_id, d.handler, d.payment_id, d.job_id, d.topic, d.alone, d.failures,
    exists (select from pauses_of(d.handler, d.merchant_id, null)) as paused,
    (select last_value + is_called::integer from requests_served) as served into v_own
  from deliveries d
  where d.merchant_id = p_merchant_id and d.event_id = p_event_id and d.handler = p_handler
    and case when d.status = 'pending' then d.job_id end = p_job_id
  for update of d;
  if not found then
    return;
  end if;

  return query
  select g.merchant_id, g.event_id, g.handler, g.payment_id, g.job_id, g.topic, g.share, g.payment_id is null or p.id is not null,
    v_own.alone, v_own.failures, v_own.paused, v_own.served
  from (
    select 0 as place, v_own.merchant_id as merchant_id, v_own.event_id as event_id, v_own.handler as handler,
      v_own.payment_id as payment_id, v_own.job_id as job_id, v_own.topic as topic, null::integer as share
    union all
    select s.place, s.merchant_id, s.event_id, s.handler, s.payment_id, s.job_id, s.topic, s.share
    from pick_siblings(p_after, p_oldest, p_most, p_handlers) with ordinality
      as s (merchant_id, event_id, handler, payment_id, job_id, topic, share, place)
    where p_most > 0 and not v_own.paused and not v_own.alone and v_own.failures = 0
    -- the one lock order
    order by merchant_id, payment_id
  ) g
  left join lateral (
    select q.id from payments q where q.merchant_id = g.merchant_id and q.id = g.payment_id
    for no key update skip locked
  ) p on not v_own.paused
  order by g.place;
end $$;
comment on function start_group is
  'What a group of local deliveries begins with, all of it locked: first the carrier''s own delivery, if it still names this job,'
  ' then at most so many siblings, none where it runs alone or waits for an operator. `free`: whether its payment was to be had;'
  ' what another holds is left to it. The last four columns are the carrier''s, and how many the API has served.';

drop function if exists finish_group(uuid[], uuid[], text[], bigint[]);
create or replace function finish_group(
  p_merchant_ids uuid[], p_event_ids uuid[], p_handlers text[], p_job_ids bigint[],
  p_own bigint default null, p_worker_id bigint default null
) returns void
  language plpgsql volatile
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
as $$
begin
  -- after the last payment's lock: balances are locked once per group, in their own order
  perform ledger_close();
  perform set_config('postbox.actor_type', 'worker', true), set_config('postbox.actor_id', 'local', true),
    set_config('postbox.causation_id', '', true);
  update deliveries d set status = 'done', done_at = clock_timestamp(), job_id = null, runs = d.runs + 1
  from unnest(p_merchant_ids, p_event_ids, p_handlers) w (merchant_id, event_id, handler)
  where d.merchant_id = w.merchant_id and d.event_id = w.event_id and d.handler = w.handler
    -- in a CASE, so that each is found by its key, as where siblings are picked; so with the jobs below
    and case when d.status = 'pending' then d.event_id end = w.event_id;
  -- wake-ups that are no longer needed, and the carrier's own from the hands of its worker; any other job that a worker has
  -- fetched finds its delivery done
  delete from procrastinate_jobs
  where id = any (p_job_ids)
    and case when status = 'todo' then true when id = p_own and status = 'doing' then worker_id = p_worker_id end;
end $$;
comment on function finish_group is
  'Ends a group of local deliveries: what it posted is moved into the balances, every delivery is marked with its effect, and the'
  ' jobs of those that were carried go, with the carrier''s own where it is named with the worker that holds it. The transaction'
  ' acts as the local lane from here on.';
