-- The life of a refund as the database enforces it. Fired by triggers.sql in the order of the numbers.

create or replace function refunds_200_check() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  actor text;
begin
  if tg_relid <> 'postbox.refunds'::regclass then
    raise exception 'refunds_200_check guards postbox.refunds and nothing else' using errcode = 'PB002';
  end if;
  if tg_op in ('DELETE', 'TRUNCATE') then
    raise exception 'a refund is never deleted' using errcode = 'PB004';
  end if;
  actor := assert_actor_allowed();
  if tg_op = 'INSERT' then
    if new.state <> 'requested' or num_nonnulls(new.provider_ref, new.provider_status, new.succeeded_at, new.ended_at, new.failure_reason) > 0 then
      raise exception 'a refund begins as requested and without facts' using errcode = 'PB001';
    end if;
    if (new.origin = 'api') <> (actor in ('api', 'operator')) then
      raise exception '% does not make a refund of origin %', actor, new.origin using errcode = 'PB002';
    end if;
    perform assert_child_of_payment(new.merchant_id, new.payment_id, new.currency, new.provider, new.provider_account);
    if new.origin = 'api' and new.operation_id is not null and not exists (
      select from operations o
      where o.merchant_id = new.merchant_id and o.id = new.operation_id and o.payment_id = new.payment_id
        and o.kind = 'refund' and o.amount = new.amount
    ) then
      raise exception 'a refund is what its operation sends' using errcode = 'PB004';
    end if;
    if actor = 'operator' and refund_takes_two(new.merchant_id, new.payment_id, new.amount) then
      perform carry_out('refund', new.merchant_id,
        jsonb_build_object('payment', new.payment_id, 'amount', new.amount, 'cause', new.reason));
    end if;
    new.version := 1;
    new.created_at := clock_timestamp();
    new.updated_at := new.created_at;
    return new;
  end if;
  if actor not in ('worker', 'webhook', 'reconciler') then
    raise exception '% may not change a refund', actor using errcode = 'PB002';
  end if;
  if (new.merchant_id, new.id, new.payment_id, new.currency, new.amount, new.origin, new.operation_id, new.reason, new.provider,
      new.provider_account, new.created_at)
     is distinct from
     (old.merchant_id, old.id, old.payment_id, old.currency, old.amount, old.origin, old.operation_id, old.reason, old.provider,
      old.provider_account, old.created_at) then
    raise exception 'what a refund is never changes' using errcode = 'PB004';
  end if;
  if new.state <> old.state then
    if not exists (select from refund_transitions where from_state = old.state and to_state = new.state) then
      raise exception 'a refund does not go from % to %', old.state, new.state using errcode = 'PB001';
    end if;
  end if;
  if (old.provider_ref is not null and new.provider_ref is distinct from old.provider_ref)
     or (old.succeeded_at is not null and new.succeeded_at is distinct from old.succeeded_at)
     or (old.ended_at is not null and (new.ended_at, new.failure_reason) is distinct from (old.ended_at, old.failure_reason)) then
    raise exception 'a fact that is set stays as it is' using errcode = 'PB004';
  end if;
  if new.state <> old.state and new.state = 'succeeded' then
    new.succeeded_at := clock_timestamp();
  elsif new.state <> old.state and new.state in ('failed', 'canceled') then
    new.ended_at := clock_timestamp();
  end if;
  new.version := old.version + 1;
  new.updated_at := clock_timestamp();
  return new;
end $$;
comment on function refunds_200_check is
  'Refuses what no actor may do to a refund: PB001 no such edge, PB002 not this actor, PB003 no actor, PB004 immutable.';

create or replace function refunds_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.refunds'::regclass then
    raise exception 'refunds_500_audit records postbox.refunds and nothing else' using errcode = 'PB002';
  end if;
  perform audit_write(
    new.merchant_id,
    'refund.' || case when tg_op = 'INSERT' then 'created' when new.state <> old.state then new.state else 'observed' end,
    'refund', new.id::text, new.payment_id, null,
    case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', jsonb_strip_nulls(to_jsonb(new)))
         else changed_columns(to_jsonb(old), to_jsonb(new)) end);
  return null;
end $$;
comment on function refunds_500_audit is 'One audit entry per insert and update of a refund.';

create or replace function refunds_700_event() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  edge_event text;
begin
  if tg_relid <> 'postbox.refunds'::regclass then
    raise exception 'refunds_700_event speaks for postbox.refunds and nothing else' using errcode = 'PB002';
  end if;
  if tg_op = 'INSERT' then
    perform emit_refund_event('refund.requested', new, null);
  elsif new.state <> old.state then
    select event into strict edge_event from refund_transitions where from_state = old.state and to_state = new.state;
    perform emit_refund_event(edge_event, new, old.state);
  end if;
  return null;
end $$;
comment on function refunds_700_event is 'The event of a refund''s beginning or edge, in the transaction that made it true.';

create or replace function emit_refund_event(p_topic text, r refunds, p_previous_state text) returns void
  language sql volatile
  set search_path = postbox, pg_temp
as $$
  insert into events (merchant_id, topic, payment_id, refund_id, payload, correlation_id, causation_id)
  values (r.merchant_id, p_topic, r.payment_id, r.id,
    jsonb_build_object('state', r.state, 'previous_state', p_previous_state, 'version', r.version, 'currency', r.currency,
      'amount', r.amount, 'origin', r.origin, 'reason', r.reason, 'failure_reason', r.failure_reason),
    r.payment_id::text,
    nullif(current_setting('postbox.causation_id', true), ''))
$$;
comment on function emit_refund_event is 'One event about a refund as it is now; only definer triggers may call it.';

create or replace function assert_child_of_payment(
  p_merchant_id uuid, p_payment_id uuid, p_currency text, p_provider text, p_account text
) returns void
  language plpgsql stable
  set search_path = postbox, pg_temp
as $$
begin
  if not exists (
    select from payments
    where merchant_id = p_merchant_id and id = p_payment_id
      and (currency, provider, provider_account) = (p_currency, p_provider, p_account)
  ) then
    raise exception 'a refund or dispute has its payment''s currency and provider' using errcode = 'PB004';
  end if;
end $$;
comment on function assert_child_of_payment is 'PB004 unless the payment has this currency, provider and account.';
