-- The life of a payment as the database enforces it. Fired by triggers.sql in the order of the numbers.

create or replace function payments_200_check() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  actor text;
  edge payment_transitions;
  schedule text;
begin
  if tg_relid <> 'postbox.payments'::regclass then
    raise exception 'payments_200_check guards postbox.payments and nothing else' using errcode = 'PB002';
  end if;
  if tg_op in ('DELETE', 'TRUNCATE') then
    raise exception 'a payment is never deleted' using errcode = 'PB004';
  end if;

  actor := assert_actor_allowed();
  if tg_op = 'INSERT' then
    if new.state <> 'initiated' then
      raise exception 'a payment begins as initiated, not as %', new.state using errcode = 'PB001';
    end if;
    if actor <> 'api' then
      raise exception 'a payment is created by api, not by %', actor using errcode = 'PB002';
    end if;
    if num_nonnulls(new.provider_ref, new.latest_charge_ref, new.amount_authorized, new.capture_before, new.observe_at,
         new.submitted_at, new.confirmed_at, new.settled_at, new.money_after_final_at, new.return_window_ends_on,
         new.next_action_type, new.next_action_url, new.action_expires_at, new.looked_at,
         new.failure_code, new.failure_message, new.failure_retryable, new.cancel_reason, new.fee, new.method_last4) > 0
       or (new.amount_captured, new.amount_refund_pending, new.amount_refunded, new.amount_disputed, new.amount_lost,
           new.provider_rank, new.observed_version) is distinct from (0, 0, 0, 0, 0, 0, 0) then
      raise exception 'a payment begins without facts' using errcode = 'PB001';
    end if;
    -- the price is the merchant's, in the version in force now; nobody names another
    new.fee_schedule := null;
    select m.fee_schedule into schedule from merchants m where m.id = new.merchant_id;
    if schedule is not null then
      select f.id into new.fee_schedule from fee_schedules f
      where f.name = schedule and f.effective_at <= clock_timestamp()
      order by f.effective_at desc, f.version desc limit 1;
      if not found then
        raise exception 'no version of the fee schedule % is in force', schedule
          using errcode = 'foreign_key_violation', constraint = 'payments_fee_schedule_is_in_force';
      end if;
    end if;
    new.version := 1;
    new.created_at := clock_timestamp();
    new.updated_at := new.created_at;
    return new;
  end if;

  if (new.id, new.merchant_id, new.amount, new.currency, new.provider, new.provider_account, new.method, new.method_token,
      new.capture_method, new.livemode, new.created_at)
     is distinct from
     (old.id, old.merchant_id, old.amount, old.currency, old.provider, old.provider_account, old.method, old.method_token,
      old.capture_method, old.livemode, old.created_at)
     or (new.retry_of, new.fee_schedule) is distinct from (old.retry_of, old.fee_schedule) then
    raise exception 'identity, amount and currency of a payment never change' using errcode = 'PB004';
  end if;
  if (old.provider_ref is not null and new.provider_ref is distinct from old.provider_ref)
     or (old.amount_authorized is not null and new.amount_authorized is distinct from old.amount_authorized)
     or (old.submitted_at is not null and new.submitted_at is distinct from old.submitted_at)
     or (old.confirmed_at is not null and new.confirmed_at is distinct from old.confirmed_at)
     or (old.settled_at is not null and new.settled_at is distinct from old.settled_at)
     or (old.fee is not null and new.fee is distinct from old.fee)
     or (old.method_last4 is not null and new.method_last4 is distinct from old.method_last4)
     or (old.money_after_final_at is not null and new.money_after_final_at is distinct from old.money_after_final_at) then
    raise exception 'a fact that is set stays as it is' using errcode = 'PB004';
  end if;

  -- what is asked for fits into what is left; what the provider did is true whether it fits or not
  if new.amount_refund_pending <> old.amount_refund_pending and actor in ('api', 'operator')
     and (new.amount_refund_pending < old.amount_refund_pending
          or new.amount_captured - new.amount_refunded < new.amount_refund_pending) then
    raise exception 'a request reserves no more than what is left to refund'
      using errcode = 'check_violation', constraint = 'payments_refund_requests_fit';
  end if;

  if new.state <> old.state then
    select * into edge from payment_transitions where from_state = old.state and to_state = new.state;
    if not found then
      raise exception 'there is no edge from % to %', old.state, new.state using errcode = 'PB001';
    end if;
    if actor <> all (edge.actors) then
      raise exception '% may not move a payment from % to %', actor, old.state, new.state using errcode = 'PB002';
    end if;
    if old.state = 'submitting' and new.state = 'canceled' and exists (
      select from provider_calls c where c.merchant_id = old.merchant_id and c.payment_id = old.id
    ) then
      raise exception 'a payment that may have been sent is canceled at its provider, not here' using errcode = 'PB001';
    end if;
    if new.state not in ('initiated', 'submitting', 'outcome_unknown', 'failed', 'canceled') then
      new.submitted_at := coalesce(new.submitted_at, clock_timestamp());
    end if;
    if new.state in ('confirmed', 'settled', 'disputed', 'refunded', 'charged_back') then
      new.confirmed_at := coalesce(new.confirmed_at, clock_timestamp());
    end if;
    if new.state = 'settled' then
      new.settled_at := coalesce(new.settled_at, clock_timestamp());
    end if;
    if new.state = 'requires_action' then
      new.action_required_at := coalesce(new.action_required_at, clock_timestamp());
    end if;
    if old.state = 'requires_action' then
      new.next_action_type := null;
      new.next_action_url := null;
      new.action_expires_at := null;
    end if;
    if old.state in ('failed', 'canceled') then
      new.failure_code := null;
      new.failure_message := null;
      new.failure_retryable := null;
      new.cancel_reason := null;
    end if;
  end if;
  if new.amount_captured <> old.amount_captured and acting_role() = 'postbox_operator'
     and edge.event is distinct from 'payment.adopted' then
    raise exception 'what was captured is the provider''s to say' using errcode = 'PB002';
  end if;
  if edge.event = 'payment.adopted' then
    perform carry_out('adopt', new.merchant_id, jsonb_build_object('payment', new.id, 'amount', new.amount_captured));
  end if;
  if new.confirmed_at is not null
     and new.state in ('confirmed', 'settled', 'disputed', 'refunded', 'charged_back', 'returned')
     and new.state <> state_of_facts(new.method, new.amount_captured, new.amount_refunded, new.amount_disputed, new.amount_lost,
           new.settled_at, new.state = 'returned') then
    raise exception 'the facts of this payment do not say %', new.state
      using errcode = 'check_violation', constraint = 'payments_state_follows_the_facts';
  end if;
  new.version := old.version + 1;
  new.updated_at := clock_timestamp();
  return new;
end $$;
comment on function payments_200_check is
  'Refuses what no actor may do to a payment: PB001 no such edge, PB002 not this actor, PB003 no actor, PB004 immutable.';

create or replace function payments_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.payments'::regclass then
    raise exception 'payments_500_audit records postbox.payments and nothing else' using errcode = 'PB002';
  end if;
  if tg_op = 'UPDATE' and is_group() then
    return null;
  end if;
  perform audit_write(
    new.merchant_id,
    case when tg_op = 'INSERT' then 'payment.created'
         when new.state <> old.state then 'payment.' || new.state
         else 'payment.observed' end,
    'payment', new.id::text, new.id, new.version,
    case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', jsonb_strip_nulls(to_jsonb(new)))
         else changed_columns(to_jsonb(old), to_jsonb(new)) end);
  return null;
end $$;
comment on function payments_500_audit is 'One audit entry per insert and update of a payment, facts included.';

create or replace function payments_700_event() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  edge_event text;
begin
  if tg_relid <> 'postbox.payments'::regclass then
    raise exception 'payments_700_event speaks for postbox.payments and nothing else' using errcode = 'PB002';
  end if;
  if tg_op = 'INSERT' then
    perform emit_payment_event('payment.initiated', new, null);
    return null;
  end if;
  if is_group() then
    return null;
  end if;
  if new.state <> old.state then
    select event into strict edge_event from payment_transitions where from_state = old.state and to_state = new.state;
    if edge_event <> 'payment.settled' then
      perform emit_payment_event(edge_event, new, old.state);
    end if;
  end if;
  -- a milestone: whatever the state, the day the money became available is told once
  if old.settled_at is null and new.settled_at is not null then
    perform emit_payment_event('payment.settled', new, old.state);
  end if;
  return null;
end $$;
comment on function payments_700_event is 'The events of an edge or a milestone, in the transaction that made it true.';

create or replace function payment_told(p payments, p_previous_state text) returns jsonb
  language sql immutable parallel safe
as $$
  select jsonb_build_object(
    'state', p.state, 'previous_state', p_previous_state, 'version', p.version, 'currency', p.currency,
    'amount', p.amount, 'amount_captured', p.amount_captured, 'amount_refunded', p.amount_refunded,
    'reference', p.reference, 'failure_code', p.failure_code, 'cancel_reason', p.cancel_reason)
$$;
comment on function payment_told is 'What an event tells of its payment.';

create or replace function emit_payment_event(p_topic text, p payments, p_previous_state text) returns void
  language sql volatile
  set search_path = postbox, pg_temp
as $$
  insert into events (merchant_id, topic, payment_id, payment_version, payload, correlation_id, causation_id)
  values (p.merchant_id, p_topic, p.id, p.version, payment_told(p, p_previous_state),
    p.id::text,
    nullif(current_setting('postbox.causation_id', true), ''))
$$;
comment on function emit_payment_event is 'One event about a payment as it is now; only definer triggers may call it.';

create or replace function emit_observation_due(p_merchant_id uuid, p_payment_id uuid) returns void
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  p payments;
begin
  perform assert_actor_allowed();
  select * into strict p from payments where merchant_id = p_merchant_id and id = p_payment_id;
  perform emit_payment_event('payment.observation_due', p, p.state);
end $$;
comment on function emit_observation_due is 'The clock says it is time to observe the payment again: the only event a sweep may make.';
