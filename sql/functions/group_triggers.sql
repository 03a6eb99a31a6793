-- A group of local deliveries is one statement: what the triggers of its rows would say one after the other is said here once
-- for all of them. Either those speak or these, never both, and a group is what names its causes in postbox.causations. The
-- question is asked when they fire, at the end of the statement, when nothing of it can answer differently any more.

create or replace function is_group() returns boolean
  language sql stable parallel safe
  return coalesce(current_setting('postbox.causations', true), '') <> '';
comment on function is_group is 'Whether this statement changes the payments of a group, each for an event of its own.';

create or replace function causations() returns table (payment_id uuid, event_id text)
  language sql stable parallel safe
as $$
  select c.key::uuid, c.value from jsonb_each_text(nullif(current_setting('postbox.causations', true), '')::jsonb) c
$$;
comment on function causations is 'The payments of this group, and the event for which each is changed.';

-- Executable by nobody, as audit_write.
create or replace function audit_write_all(p_changes audit_change[]) returns void
  language plpgsql volatile
  set search_path = postbox, pg_temp
as $$
declare
  v_actor_type constant text := acting_type();
  v_actor_id constant text := current_setting('postbox.actor_id', true);
  v_on_behalf_of constant text := nullif(current_setting('postbox.on_behalf_of', true), '');
  v_db_role constant text := acting_role();
  v_reason constant text := nullif(current_setting('postbox.reason', true), '');
  v_request_id constant text := nullif(current_setting('postbox.request_id', true), '');
  v_correlation_id constant text := nullif(current_setting('postbox.correlation_id', true), '');
begin
  insert into audit_log
  select (w.entry).merchant_id, (w.entry).id, (w.entry).epoch, (w.entry).recorded_xid, (w.entry).recorded_at,
    (w.entry).actor_type, (w.entry).actor_id, (w.entry).on_behalf_of, (w.entry).db_role, (w.entry).reason,
    (w.entry).action, (w.entry).entity_type, (w.entry).entity_id, (w.entry).payment_id, (w.entry).payment_version,
    (w.entry).request_id, (w.entry).correlation_id, (w.entry).causation_id, (w.entry).body, (w.entry).payload_sha256,
    audit_row_sha256(w.entry)
  from (
    select row(c.merchant_id, uuidv7(), current_epoch(), pg_current_xact_id(), clock_timestamp(),
      v_actor_type, v_actor_id, v_on_behalf_of, v_db_role, v_reason, c.action, c.entity_type, c.entity_id, c.payment_id,
      c.payment_version, v_request_id, coalesce(c.payment_id::text, v_correlation_id), c.causation_id, c.body::text,
      null, null)::audit_log as entry
    from unnest(p_changes) c
  ) w;
end $$;
comment on function audit_write_all is 'audit_write for many changes under one actor, in their order, each with a cause of its own.';

create or replace function payments_500_audit_of_group() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
  -- a plan is kept for groups of every size: a loop over all rows within a loop over all rows must not be it
  set enable_nestloop = off
as $$
begin
  if tg_relid <> 'postbox.payments'::regclass then
    raise exception 'payments_500_audit_of_group records postbox.payments and nothing else' using errcode = 'PB002';
  end if;
  if is_group() then
    perform audit_write_all(array_agg(row(
      n.merchant_id, case when n.state <> o.state then 'payment.' || n.state else 'payment.observed' end, 'payment', n.id::text,
      n.id, n.version, changed_columns(to_jsonb(o), to_jsonb(n)), c.event_id)::audit_change))
    from became n
    join was o on o.merchant_id = n.merchant_id and o.id = n.id
    left join causations() c on c.payment_id = n.id;
  end if;
  return null;
end $$;
comment on function payments_500_audit_of_group is 'payments_500_audit for a group.';

create or replace function payments_700_event_of_group() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
  set enable_nestloop = off
as $$
begin
  if tg_relid <> 'postbox.payments'::regclass then
    raise exception 'payments_700_event_of_group speaks for postbox.payments and nothing else' using errcode = 'PB002';
  end if;
  if is_group() then
    insert into events (merchant_id, topic, payment_id, payment_version, payload, correlation_id, causation_id)
    select n.merchant_id, news.topic, n.id, n.version, payment_told(n::payments, o.state),
      n.id::text, c.event_id
    from became n
    join was o on o.merchant_id = n.merchant_id and o.id = n.id
    cross join lateral (
      select t.event as topic, 1 as place from payment_transitions t
      where t.from_state = o.state and t.to_state = n.state and t.event <> 'payment.settled'
      union all
      select 'payment.settled', 2 where o.settled_at is null and n.settled_at is not null
    ) news
    left join causations() c on c.payment_id = n.id
    order by n.merchant_id, n.id, news.place;
  end if;
  return null;
end $$;
comment on function payments_700_event_of_group is 'payments_700_event for a group.';

create or replace function events_900_fan_out_of_group() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.events'::regclass then
    raise exception 'events_900_fan_out_of_group serves postbox.events and nothing else' using errcode = 'PB002';
  end if;
  if is_group() then
    with owed as (
      select e.merchant_id, e.id, s.handler, e.topic, s.lane, e.payment_id, row_number() over (order by e.id, s.handler) as place
      from added e
      join subscriptions s on s.topic = e.topic
    ),
    enqueued as (
      select enqueue_deliveries(array_agg(merchant_id order by place), array_agg(id order by place),
        array_agg(handler order by place), array_agg(lane order by place)) as jobs
      from owed
      having count(*) > 0
    )
    insert into deliveries (merchant_id, event_id, handler, topic, lane, payment_id, job_id)
    select o.merchant_id, o.id, o.handler, o.topic, o.lane, o.payment_id, q.jobs[o.place]
    from owed o
    cross join enqueued q;
  end if;
  return null;
end $$;
comment on function events_900_fan_out_of_group is 'events_900_fan_out for a group.';

create or replace function events_900_reconcile_of_group() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.events'::regclass then
    raise exception 'events_900_reconcile_of_group serves postbox.events and nothing else' using errcode = 'PB002';
  end if;
  if is_group() then
    perform reconcile_soon_all(array_agg(e.merchant_id), array_agg(e.payment_id)) from added e
    where e.payment_id is not null and tells_of_books(e.topic);
  end if;
  return null;
end $$;
comment on function events_900_reconcile_of_group is 'events_900_reconcile for a group.';
