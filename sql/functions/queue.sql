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
  -- when one look at a payment answers several, and no more while one does, for whom nothing else brings on what it asked for
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
