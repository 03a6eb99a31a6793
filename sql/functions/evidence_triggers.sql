-- Guards and audit of operations, provider calls and webhooks.

create or replace function operations_200_check() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.operations'::regclass then
    raise exception 'operations_200_check guards postbox.operations and nothing else' using errcode = 'PB002';
  end if;
  if tg_op in ('DELETE', 'TRUNCATE') then
    raise exception 'an operation is never deleted' using errcode = 'PB004';
  end if;
  if assert_actor_allowed() in ('api', 'operator') and tg_op = 'INSERT' and new.kind not in ('capture', 'cancel', 'refund') then
    raise exception 'nobody asks for a %: workers decide it', new.kind using errcode = 'PB002';
  end if;
  if tg_op = 'INSERT' and (new.status <> 'pending' or new.outcome is not null) then
    raise exception 'an operation begins as pending, not as %', new.status using errcode = 'PB004';
  end if;
  if tg_op = 'UPDATE' then
    if (new.merchant_id, new.id, new.payment_id, new.kind, new.params, new.params_sha256, new.created_at)
       is distinct from (old.merchant_id, old.id, old.payment_id, old.kind, old.params, old.params_sha256, old.created_at) then
      raise exception 'what an operation intends never changes' using errcode = 'PB004';
    end if;
    if old.outcome is not null then
      raise exception 'operation % is over: %', old.id, old.outcome using errcode = 'PB004';
    end if;
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
comment on function operations_200_check is 'An operation keeps its intent, is never deleted, and never changes once it has an outcome.';

create or replace function operations_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.operations'::regclass then
    raise exception 'operations_500_audit records postbox.operations and nothing else' using errcode = 'PB002';
  end if;
  -- leases come and go with every call and are on the call's own entry; what is audited is intent and end
  if tg_op = 'INSERT' or new.status is distinct from old.status and new.status in ('unknown', 'succeeded', 'failed') then
    perform audit_write(
      new.merchant_id, 'operation.' || case when tg_op = 'INSERT' then 'requested' else new.status end,
      'operation', new.id::text, new.payment_id, null,
      case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', jsonb_strip_nulls(to_jsonb(new)))
           else changed_columns(to_jsonb(old), to_jsonb(new)) end,
      new.params_sha256);
  end if;
  return null;
end $$;
comment on function operations_500_audit is 'Audits what an operation intends and how it ended.';

create or replace function operations_700_event() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.operations'::regclass then
    raise exception 'operations_700_event speaks for postbox.operations and nothing else' using errcode = 'PB002';
  end if;
  -- submit and close are run by the handlers that made them; the others, and the closing of an orphan, wake theirs
  if new.kind in ('capture', 'cancel', 'refund') or new.target_ref is not null then
    insert into events (merchant_id, topic, payment_id, operation_id, payload, correlation_id, causation_id)
    values (new.merchant_id, 'operation.requested', new.payment_id, new.id,
      jsonb_build_object('kind', new.kind, 'amount', new.amount),
      new.payment_id::text,
      nullif(current_setting('postbox.causation_id', true), ''));
  end if;
  return null;
end $$;
comment on function operations_700_event is 'A requested capture, cancel or refund wakes its handler.';

create or replace function operation_attempts_700_event() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.operation_attempts'::regclass then
    raise exception 'operation_attempts_700_event speaks for postbox.operation_attempts and nothing else' using errcode = 'PB002';
  end if;
  insert into events (merchant_id, topic, payment_id, operation_id, payload, correlation_id, causation_id)
  select new.merchant_id, 'operation.create_repeated', o.payment_id, o.id, jsonb_build_object('n', new.n),
         o.payment_id::text,
         nullif(current_setting('postbox.causation_id', true), '')
  from operations o
  where o.merchant_id = new.merchant_id and o.id = new.operation_id;
  return null;
end $$;
comment on function operation_attempts_700_event is
  'A create under a further key may leave an object of the first behind: somebody is to look for it.';

create or replace function provider_calls_200_check() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.provider_calls'::regclass then
    raise exception 'provider_calls_200_check guards postbox.provider_calls and nothing else' using errcode = 'PB002';
  end if;
  if tg_op in ('DELETE', 'TRUNCATE') then
    raise exception 'a provider call is never deleted' using errcode = 'PB004';
  end if;
  perform assert_actor_allowed();
  if tg_op = 'INSERT' and new.finished_at is not null then
    raise exception 'a provider call is written down before it is sent' using errcode = 'PB004';
  end if;
  if tg_op = 'UPDATE' then
    if old.finished_at is not null then
      raise exception 'provider call % is already complete', old.id using errcode = 'PB004';
    end if;
    if (new.merchant_id, new.id, new.operation_id, new.payment_id, new.provider, new.account, new.step, new.attempt, new.method, new.path,
        new.idempotency_key, new.request, new.request_sha256, new.sent_at)
       is distinct from
       (old.merchant_id, old.id, old.operation_id, old.payment_id, old.provider, old.account, old.step, old.attempt, old.method, old.path,
        old.idempotency_key, old.request, old.request_sha256, old.sent_at) then
      raise exception 'what was sent never changes' using errcode = 'PB004';
    end if;
  end if;
  return new;
end $$;
comment on function provider_calls_200_check is 'A call is opened before it is sent, completed once, and never rewritten.';

create or replace function provider_calls_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.provider_calls'::regclass then
    raise exception 'provider_calls_500_audit records postbox.provider_calls and nothing else' using errcode = 'PB002';
  end if;
  perform audit_write(
    new.merchant_id, case when tg_op = 'INSERT' then 'provider_call.opened' else 'provider_call.completed' end,
    'provider_call', new.id::text, new.payment_id, null,
    case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', jsonb_strip_nulls(to_jsonb(new)))
         else changed_columns(to_jsonb(old), to_jsonb(new)) end,
    case when tg_op = 'INSERT' then new.request_sha256 else new.response_sha256 end);
  return null;
end $$;
comment on function provider_calls_500_audit is 'One audit entry when a call is opened and one when it is completed.';

create or replace function webhooks_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.webhooks'::regclass then
    raise exception 'webhooks_500_audit records postbox.webhooks and nothing else' using errcode = 'PB002';
  end if;
  perform audit_write(
    new.merchant_id, 'webhook.received', 'webhook', new.id::text, null, null,
    jsonb_build_object('before', null, 'after', jsonb_strip_nulls(to_jsonb(new))), new.body_sha256);
  return null;
end $$;
comment on function webhooks_500_audit is 'One audit entry per stored provider event.';

create or replace function webhooks_700_event() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.webhooks'::regclass then
    raise exception 'webhooks_700_event speaks for postbox.webhooks and nothing else' using errcode = 'PB002';
  end if;
  insert into events (merchant_id, topic, webhook_id, payload, correlation_id, causation_id)
  values (new.merchant_id, 'webhook.received', new.id,
    jsonb_build_object('type', new.type, 'provider_event_id', new.provider_event_id),
    coalesce(new.payment_id::text, new.payment_ref), new.provider_event_id);
  return null;
end $$;
comment on function webhooks_700_event is 'A stored provider event is queued in the transaction that stored it.';

create or replace function webhook_rejections_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.webhook_rejections'::regclass then
    raise exception 'webhook_rejections_500_audit records postbox.webhook_rejections and nothing else' using errcode = 'PB002';
  end if;
  perform audit_write(
    new.merchant_id, 'webhook.refused', 'webhook_rejection', new.provider || '/' || new.account || '@' || new.second::text,
    null, null, jsonb_build_object('before', null, 'after', to_jsonb(new)), null, new.reason);
  return null;
end $$;
comment on function webhook_rejections_500_audit is 'The first refusal of an account in a second is audited; the others are counted.';

create or replace function refuse_change() returns trigger
  language plpgsql volatile
as $$
begin
  raise exception '% of % is refused: it is append-only', lower(tg_op), tg_table_name using errcode = 'PB004';
end $$;
comment on function refuse_change is 'Guards an append-only table against update, delete and truncate, whoever asks.';

-- Every act of an operator leaves an entry through here: the only audit function a runtime role may execute.
create or replace function record_act(
  p_merchant_id uuid, p_action text, p_entity_type text, p_entity_id text, p_payment_id uuid, p_body jsonb, p_reason text
) returns void
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  perform assert_actor_allowed();
  -- a list of what may be told, not of what may not: everything else is audited by its own trigger
  if p_entity_type <> 'provider_object' then
    raise exception '% is not told of by hand: its own trigger audits it', p_entity_type using errcode = 'PB002';
  end if;
  perform audit_write(p_merchant_id, p_action, p_entity_type, p_entity_id, p_payment_id, null, p_body, null, p_reason);
end $$;
comment on function record_act is 'Audits something that is no row change of ours: an object of the provider that belongs to nobody here.';
