-- Fan-out: every event becomes one delivery and one job per subscribed handler, in the same transaction.
create or replace function events_900_fan_out() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.events'::regclass then
    raise exception 'events_900_fan_out serves postbox.events and nothing else' using errcode = 'PB002';
  end if;
  if is_group() then
    return null;
  end if;
  insert into deliveries (merchant_id, event_id, handler, topic, lane, payment_id, job_id)
  select new.merchant_id, new.id, s.handler, new.topic, s.lane, new.payment_id,
         enqueue_delivery(new.merchant_id, new.id, s.handler, s.lane)
  from subscriptions s
  where s.topic = new.topic;
  return null;
end $$;
comment on function events_900_fan_out is 'One delivery and one job per subscription of the topic.';

-- The queue is the lane, the task is `postbox.<lane>`; arguments are ids only, they are logged.
create or replace function enqueue_delivery(p_merchant_id uuid, p_event_id uuid, p_handler text, p_lane text) returns bigint
  language sql volatile
  set search_path = postbox, procrastinate, pg_temp
as $$
  select (procrastinate_defer_jobs_v1(array[row(
    p_lane, 'postbox.' || p_lane, 0, null, null,
    jsonb_build_object('merchant_id', p_merchant_id, 'event_id', p_event_id, 'handler', p_handler), null
  )::procrastinate_job_to_defer_v1]))[1]
$$;
comment on function enqueue_delivery is 'One wake-up for one delivery; returns the job''s id, which the delivery stores.';

create or replace function enqueue_deliveries(p_merchant_ids uuid[], p_event_ids uuid[], p_handlers text[], p_lanes text[])
  returns bigint[]
  language sql volatile
  set search_path = postbox, procrastinate, pg_temp
as $$
  select procrastinate_defer_jobs_v1(array_agg(row(
    w.lane, 'postbox.' || w.lane, 0, null, null,
    jsonb_build_object('merchant_id', w.merchant_id, 'event_id', w.event_id, 'handler', w.handler), null
  )::procrastinate_job_to_defer_v1 order by w.place))
  from unnest(p_merchant_ids, p_event_ids, p_handlers, p_lanes) with ordinality as w (merchant_id, event_id, handler, lane, place)
$$;
comment on function enqueue_deliveries is 'One wake-up per delivery; returns the ids of the jobs in their order, which the deliveries store.';
