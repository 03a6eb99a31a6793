-- What needs two people, guarded and audited: each is signed in, has a role that includes it, and acts in their own name.

-- An earlier release's form, which took a name for a person.
drop function if exists assert_operator_may(text);

create or replace function proposals_200_check() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.proposals'::regclass then
    raise exception 'proposals_200_check guards postbox.proposals and nothing else' using errcode = 'PB002';
  end if;
  if tg_op = 'DELETE' then
    raise exception 'a proposal is never deleted' using errcode = 'PB004';
  end if;
  if assert_actor_allowed() <> 'operator' then
    raise exception 'proposals are people''s' using errcode = 'PB002';
  end if;
  if tg_op = 'INSERT' then
    if new.status <> 'open' or new.proposed_by <> assert_signed_in('propose') or new.carried_out_at is not null then
      raise exception 'a proposal begins open, and in one''s own name' using errcode = 'PB002';
    end if;
    new.proposed_at := clock_timestamp();
    return new;
  end if;
  -- carry_out alone may write this, when what was approved is done
  if old.status = 'approved' and old.carried_out_at is null and new.carried_out_at is not null
     and to_jsonb(new) - 'carried_out_at' = to_jsonb(old) - 'carried_out_at' then
    return new;
  end if;
  if old.status <> 'open' or new.carried_out_at is not null then
    raise exception 'a proposal is decided once' using errcode = 'PB004';
  end if;
  if new.decided_by is not null then
    if new.decided_by <> assert_signed_in('decide') then
      raise exception 'one decides in one''s own name' using errcode = 'PB002';
    end if;
    new.decided_at := clock_timestamp();
  elsif new.status = 'expired' and old.expires_at > clock_timestamp() then
    raise exception 'a proposal expires when its time is over' using errcode = 'PB004';
  end if;
  return new;
end $$;
comment on function proposals_200_check is 'A proposal is made and decided by whoever is signed in and may, once, and its time is the database''s.';

create or replace function proposals_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.proposals'::regclass then
    raise exception 'proposals_500_audit records postbox.proposals and nothing else' using errcode = 'PB002';
  end if;
  perform audit_write(
    new.merchant_id,
    'proposal.' || case when new.carried_out_at is not null then 'carried_out' when new.status = 'open' then 'made' else new.status end,
    'proposal', new.id::text, new.payment_id, null,
    case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', to_jsonb(new))
         else changed_columns(to_jsonb(old), to_jsonb(new)) end,
    new.parameters_sha256, coalesce(new.decision_reason, new.reason));
  return null;
end $$;
comment on function proposals_500_audit is 'One audit entry per proposal that is made, approved, carried out, rejected or expired.';

-- A look at one provider event again: nothing moves by it that the provider does not say, so it may be done twice.
create or replace function replay_webhook(p_merchant_id uuid, p_webhook_id uuid) returns boolean
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if assert_actor_allowed() <> 'operator' then
    raise exception 'a webhook is replayed by an operator' using errcode = 'PB002';
  end if;
  update deliveries d
  set status = 'pending', done_at = null, job_id = null, due_at = clock_timestamp(), alone = true,
      failures = 0, deferrals = 0, rescues = 0, deferred_since = null, deferred_for = null
  from events e
  where e.merchant_id = p_merchant_id and e.webhook_id = p_webhook_id and e.topic = 'webhook.received'
    and d.merchant_id = e.merchant_id and d.event_id = e.id and d.handler = 'apply_webhook' and d.status = 'done';
  if found then
    perform audit_write(p_merchant_id, 'webhook.replayed', 'webhook', p_webhook_id::text, null, null, '{}'::jsonb);
    -- a person has seen to what no webhook told
    perform end_awaited_webhook(p_merchant_id, p_webhook_id, 'replay');
    return true;
  end if;
  return false;
end $$;
comment on function replay_webhook is 'Runs the handler of a stored provider event again, which fetches and applies; false when it is not done.';
