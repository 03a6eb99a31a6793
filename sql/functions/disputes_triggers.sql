-- The life of a dispute as the database enforces it. Fired by triggers.sql in the order of the numbers.

create or replace function disputes_200_check() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  actor text;
begin
  if tg_relid <> 'postbox.disputes'::regclass then
    raise exception 'disputes_200_check guards postbox.disputes and nothing else' using errcode = 'PB002';
  end if;
  if tg_op in ('DELETE', 'TRUNCATE') then
    raise exception 'a dispute is never deleted' using errcode = 'PB004';
  end if;
  actor := assert_actor_allowed();
  if actor not in ('worker', 'webhook', 'reconciler') then
    raise exception '% may not write a dispute: the provider decides', actor using errcode = 'PB002';
  end if;
  if tg_op = 'INSERT' then
    if new.state not in ('inquiry', 'open') or new.amount_withdrawn <> 0 then
      raise exception 'a dispute begins as inquiry or open, and holds nothing yet' using errcode = 'PB001';
    end if;
    perform assert_child_of_payment(new.merchant_id, new.payment_id, new.currency, new.provider, new.provider_account);
    new.version := 1;
    new.created_at := clock_timestamp();
    new.updated_at := new.created_at;
    return new;
  end if;
  if (new.merchant_id, new.id, new.payment_id, new.currency, new.provider, new.provider_account, new.provider_ref, new.created_at,
      new.disputed_at)
     is distinct from
     (old.merchant_id, old.id, old.payment_id, old.currency, old.provider, old.provider_account, old.provider_ref, old.created_at,
      old.disputed_at) then
    raise exception 'what a dispute is never changes' using errcode = 'PB004';
  end if;
  if new.state <> old.state
     and not exists (select from dispute_transitions where from_state = old.state and to_state = new.state) then
    raise exception 'a dispute does not go from % to %', old.state, new.state using errcode = 'PB001';
  end if;
  new.version := old.version + 1;
  new.updated_at := clock_timestamp();
  return new;
end $$;
comment on function disputes_200_check is
  'Refuses what no actor may do to a dispute: PB001 no such edge, PB002 not this actor, PB003 no actor, PB004 immutable.';

create or replace function disputes_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.disputes'::regclass then
    raise exception 'disputes_500_audit records postbox.disputes and nothing else' using errcode = 'PB002';
  end if;
  perform audit_write(
    new.merchant_id,
    'dispute.' || case when tg_op = 'INSERT' then 'created' when new.state <> old.state then new.state else 'observed' end,
    'dispute', new.id::text, new.payment_id, null,
    case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', jsonb_strip_nulls(to_jsonb(new)))
         else changed_columns(to_jsonb(old), to_jsonb(new)) end);
  return null;
end $$;
comment on function disputes_500_audit is 'One audit entry per insert and update of a dispute.';

create or replace function disputes_700_event() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  edge_event text;
begin
  if tg_relid <> 'postbox.disputes'::regclass then
    raise exception 'disputes_700_event speaks for postbox.disputes and nothing else' using errcode = 'PB002';
  end if;
  if tg_op = 'INSERT' then
    perform emit_dispute_event(case new.state when 'inquiry' then 'dispute.inquiry_opened' else 'dispute.opened' end, new, null);
  elsif new.state <> old.state then
    select event into strict edge_event from dispute_transitions where from_state = old.state and to_state = new.state;
    perform emit_dispute_event(edge_event, new, old.state);
  end if;
  return null;
end $$;
comment on function disputes_700_event is 'The event of a dispute''s beginning or edge, in the transaction that made it true.';

create or replace function emit_dispute_event(p_topic text, d disputes, p_previous_state text, p_more jsonb default '{}') returns void
  language sql volatile
  set search_path = postbox, pg_temp
as $$
  insert into events (merchant_id, topic, payment_id, dispute_id, payload, correlation_id, causation_id)
  values (d.merchant_id, p_topic, d.payment_id, d.id,
    jsonb_build_object('state', d.state, 'previous_state', p_previous_state, 'version', d.version, 'currency', d.currency,
      'amount', d.amount, 'amount_withdrawn', d.amount_withdrawn, 'reason', d.reason, 'provider_status', d.provider_status) || p_more,
    d.payment_id::text,
    nullif(current_setting('postbox.causation_id', true), ''))
$$;
comment on function emit_dispute_event is 'One event about a dispute as it is now; only definer functions may call it.';

create or replace function emit_dispute_status_unknown(p_merchant_id uuid, p_dispute_id uuid) returns void
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  d disputes;
begin
  perform assert_actor_allowed();
  select * into strict d from disputes where merchant_id = p_merchant_id and id = p_dispute_id;
  perform emit_dispute_event('dispute.status_unknown', d, d.state);
end $$;
comment on function emit_dispute_status_unknown is 'The provider uses a word for this dispute that we do not know: it is stored, and people are told.';
