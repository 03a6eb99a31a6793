-- What an operator has stopped, said once. No definer and no search_path: so the planner takes it into the statement.

create or replace function pauses_of(p_handler text, p_merchant_id uuid, p_provider text) returns setof pauses
  language sql stable
as $$
  select p.* from pauses p
  where (p.kind = 'handler' and p.name = p_handler)
     or (p.kind = 'merchant' and p.name = p_merchant_id::text)
     or (p.kind = 'provider' and p.name = p_provider)
$$;
comment on function pauses_of is
  'The pauses that a delivery waits for: of its handler, its merchant, and, where it calls one, its provider (null for the local lane).';

create or replace function put_off_paused(
  p_merchant_id uuid, p_oldest bigint, p_most integer, p_recheck double precision, p_longest double precision
) returns integer
  language plpgsql volatile
  set search_path = procrastinate, postbox, pg_temp
  -- by the queue's index and by keys, as siblings are picked
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_put_off integer;
begin
  -- who lifts a pause has put_off to himself: what is put off by somebody who has not seen that would wait for minutes
  if not pg_try_advisory_xact_lock_shared(hashtextextended('postbox sweep put_off', 0)) then
    return 0;
  end if;
  with first as materialized (
    select j.id, (j.args ->> 'event_id')::uuid as event_id, j.args ->> 'handler' as handler from procrastinate_jobs j
    where j.queue_name = 'local' and j.status = 'todo' and (j.args ->> 'merchant_id')::uuid = p_merchant_id and j.id >= p_oldest
    order by (j.args ->> 'merchant_id')::uuid, j.id
    limit p_most
  ),
  paused as materialized (
    select d.*, pause.paused_at
    from first
    cross join lateral (select max(p.paused_at) as paused_at from pauses_of(first.handler, p_merchant_id, null) p) pause
    cross join lateral (
      select d.merchant_id, d.event_id, d.handler, d.job_id from deliveries d
      where d.merchant_id = p_merchant_id and d.event_id = first.event_id and d.handler = first.handler
        and case when d.status = 'pending' then d.job_id end = first.id
      for update skip locked
    ) d
    cross join lateral (
      select from procrastinate_jobs j where j.id = d.job_id and case when j.status = 'todo' then j.id end = d.job_id
      for update skip locked
    ) j
    where pause.paused_at is not null
  ),
  freed as (delete from procrastinate_jobs j using paused where j.id = paused.job_id)
  update deliveries d set
    job_id = null,
    due_at = clock_timestamp() + make_interval(secs => least(p_longest,
      greatest(p_recheck, extract(epoch from clock_timestamp() - paused.paused_at)::float8 / 2))),
    deferrals = d.deferrals + 1,
    deferred_for = 'paused',
    deferred_since = null
  from paused
  where d.merchant_id = paused.merchant_id and d.event_id = paused.event_id and d.handler = paused.handler;
  get diagnostics v_put_off = row_count;
  return v_put_off;
end $$;
comment on function put_off_paused is
  'Whatever waits for an operator among the next local jobs of a merchant, at most so many of them: their deliveries wait without a'
  ' job, as they do when the promoter meets them. How many were put off.';
