-- Audit of what operators do to tenants, keys, pauses and dead letters: by trigger, so that psql leaves the same entry.

create or replace function tenants_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  entity text := case tg_table_name when 'merchants' then 'merchant' when 'api_keys' then 'api_key' else 'provider_account' end;
  before_row jsonb := case when tg_op = 'INSERT' then '{}' else to_jsonb(old) - 'secret_hmac' end;
  after_row jsonb := to_jsonb(new) - 'secret_hmac';
  owner uuid := coalesce(after_row ->> 'merchant_id', after_row ->> 'id')::uuid;
begin
  if tg_relid <> 'postbox.merchants'::regclass and tg_relid <> 'postbox.api_keys'::regclass
     and tg_relid <> 'postbox.provider_accounts'::regclass then
    raise exception 'tenants_500_audit records postbox.merchants, api_keys, provider_accounts' using errcode = 'PB002';
  end if;
  perform assert_actor_allowed();
  if before_row ->> 'revoked_at' is not null and after_row ->> 'revoked_at' is distinct from before_row ->> 'revoked_at' then
    raise exception 'a revoked key stays revoked' using errcode = 'PB004';
  end if;
  if before_row ->> 'expires_at' is not null
     and coalesce((after_row ->> 'expires_at')::timestamptz > (before_row ->> 'expires_at')::timestamptz, true) then
    raise exception 'a key''s end only comes nearer' using errcode = 'PB004';
  end if;
  perform audit_write(
    owner,
    entity || case when tg_op = 'INSERT' then '.created'
                   when before_row ->> 'revoked_at' is null and after_row ->> 'revoked_at' is not null then '.revoked'
                   else '.changed' end,
    entity,
    case entity when 'provider_account' then (after_row ->> 'provider') || '/' || (after_row ->> 'account')
                else after_row ->> 'id' end,
    null, null,
    case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', jsonb_strip_nulls(after_row))
         else changed_columns(before_row, after_row) end);
  return null;
end $$;
comment on function tenants_500_audit is 'One audit entry per change of a merchant, a key or a provider account; never the key''s hash.';

create or replace function pauses_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  pause pauses := case when tg_op = 'DELETE' then old else new end;
begin
  if tg_relid <> 'postbox.pauses'::regclass then
    raise exception 'pauses_500_audit records postbox.pauses and nothing else' using errcode = 'PB002';
  end if;
  perform assert_actor_allowed();
  perform audit_write(
    case when pause.kind = 'merchant' then pause.name::uuid else '00000000-0000-0000-0000-000000000000' end,
    case tg_op when 'INSERT' then 'pause.set' when 'DELETE' then 'pause.lifted' else 'pause.changed' end,
    pause.kind, pause.name, null, null,
    jsonb_build_object('before', case when tg_op <> 'INSERT' then to_jsonb(old) end,
                       'after', case when tg_op <> 'DELETE' then to_jsonb(new) end));
  return null;
end $$;
comment on function pauses_500_audit is 'One audit entry per pause that is set or lifted.';

create or replace function deliveries_200_dead_letter() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.deliveries'::regclass then
    raise exception 'deliveries_200_dead_letter guards postbox.deliveries and nothing else' using errcode = 'PB002';
  end if;
  if assert_actor_allowed() <> 'operator' then
    raise exception 'a dead letter is handled by an operator' using errcode = 'PB002';
  end if;
  if old.status <> 'dead' or new.resolution is null or (new.status = 'dead') <> (new.resolution = 'discarded') then
    raise exception 'a dead letter is replayed or discarded, and nothing else is' using errcode = 'PB004';
  end if;
  if new.resolution = 'discarded' and moves_money(new.handler) then
    perform carry_out('discard', new.merchant_id, jsonb_build_object('letter', new.event_id || ':' || new.handler));
  end if;
  perform audit_write(
    new.merchant_id, 'dead_letter.' || new.resolution, 'delivery', new.event_id || ':' || new.handler, new.payment_id, null,
    changed_columns(to_jsonb(old), to_jsonb(new)), null, new.resolved_reason);
  return new;
end $$;
comment on function deliveries_200_dead_letter is
  'A dead letter changes only by an operator''s replay or discard, which is audited; what moves money is discarded by two.';

create or replace function deliveries_200_sooner() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
begin
  if tg_relid <> 'postbox.deliveries'::regclass then
    raise exception 'deliveries_200_sooner guards postbox.deliveries and nothing else' using errcode = 'PB002';
  end if;
  if acting_role() = 'postbox_operator' then
    raise exception 'an operator ends a waiting and does not prolong it: that would be to discard in silence' using errcode = 'PB002';
  end if;
  return new;
end $$;
comment on function deliveries_200_sooner is 'Nobody but a worker puts a delivery off.';
