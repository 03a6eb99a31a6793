-- Sign-in of operators: attempts are counted before they are looked at, so that many at once gain nothing.

-- Waits grow from the sixth failure of a name and the thirtieth of an address (an office has one): 1 s, 2 s, 4 s, to 15 min.
create or replace function count_sign_in(p_scope text, p_of text, p_free integer) returns double precision
  language plpgsql volatile
  set search_path = postbox, pg_temp
as $$
declare
  v_bucket constant text := left(encode(sha256(convert_to(p_of, 'UTF8')), 'hex'), 4);
  v_at timestamptz;
  v_row sign_in_failures;
begin
  insert into sign_in_failures values (p_scope, v_bucket, 0, clock_timestamp(), clock_timestamp()) on conflict do nothing;
  select * into strict v_row from sign_in_failures f where f.scope = p_scope and f.bucket = v_bucket for no key update;
  v_at := clock_timestamp();
  if v_row.free_at > v_at then
    return extract(epoch from v_row.free_at - v_at);
  end if;
  if v_row.failed_at < v_at - interval '1 day' then
    v_row.failures := 0;
  end if;
  update sign_in_failures f
  set failures = least(v_row.failures + 1, 1000000), failed_at = v_at,
      free_at = v_at + case when v_row.failures < p_free then interval '0'
                                  else make_interval(secs => least(900, 2 ^ least(v_row.failures - p_free, 20))) end
  where f.scope = p_scope and f.bucket = v_bucket;
  return 0;
end $$;
comment on function count_sign_in is 'Counts one attempt as a failure until it proves otherwise; or the seconds until there may be another.';

create or replace function sign_in_network(p_address inet) returns text
  language sql immutable
  return coalesce(network(set_masklen(p_address, case family(p_address) when 6 then 64 else 32 end))::text, 'nowhere');
comment on function sign_in_network is 'What counts as one address: an IPv6 customer has a whole /64.';

create or replace function begin_sign_in(p_name text, p_address inet)
  returns table (wait double precision, operator_id uuid, password_hash text, totp_secret text, changed_at timestamptz)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  v_wait double precision := count_sign_in('name', p_name, 5);
begin
  if v_wait = 0 then
    v_wait := count_sign_in('address', sign_in_network(p_address), 29);
  end if;
  return query
    select v_wait, c.operator_id, c.password_hash, c.totp_secret, c.changed_at
    from (select v_wait) as one (w)
    left join operators o on o.name = p_name and o.disabled_at is null and v_wait = 0
    left join operator_credentials c on c.operator_id = o.id;
end $$;
comment on function begin_sign_in is
  'One row: how long to wait, and if that is nothing what the person must prove; nulls for a name that is nobody''s.';

create or replace function end_sign_in(p_name text, p_address inet) returns void
  language sql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  update sign_in_failures f set failures = 0, free_at = clock_timestamp()
  where f.scope = 'name' and f.bucket = left(encode(sha256(convert_to(p_name, 'UTF8')), 'hex'), 4);
  update sign_in_failures f set failures = greatest(0, failures - 1), free_at = clock_timestamp()
  where f.scope = 'address'
    and f.bucket = left(encode(sha256(convert_to(sign_in_network(p_address), 'UTF8')), 'hex'), 4);
$$;
comment on function end_sign_in is 'The attempt signed in: the name''s failures are forgotten, the address gets this one back.';

create or replace function operators_500_audit() returns trigger
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  platform constant uuid := '00000000-0000-0000-0000-000000000000';
  action text;
  named text;
begin
  if tg_relid <> 'postbox.operators'::regclass and tg_relid <> 'postbox.operator_credentials'::regclass
     and tg_relid <> 'postbox.operator_sessions'::regclass then
    raise exception 'operators_500_audit records postbox.operators, their credentials and sessions' using errcode = 'PB002';
  end if;
  -- the door of /ops/v1 is the API's: it uses up codes and opens sessions, by a function and by nothing else
  if assert_actor_allowed() not in ('operator', case when tg_table_name <> 'operators' then 'api' end) then
    raise exception 'who operates Postbox is decided by operators' using errcode = 'PB002';
  end if;
  if tg_table_name = 'operators' then
    if tg_op = 'UPDATE' and (new.id, new.name, new.created_at) is distinct from (old.id, old.name, old.created_at) then
      raise exception 'a name stays one person''s' using errcode = 'PB004';
    end if;
    perform audit_write(platform,
      case when tg_op = 'INSERT' then 'operator.created'
           when old.disabled_at is null and new.disabled_at is not null then 'operator.disabled'
           else 'operator.changed' end,
      'operator', new.name, null, null,
      case when tg_op = 'INSERT' then jsonb_build_object('before', null, 'after', to_jsonb(new))
           else changed_columns(to_jsonb(old), to_jsonb(new)) end);
    return null;
  end if;
  select o.name into strict named from operators o where o.id = new.operator_id;
  if tg_table_name = 'operator_credentials' then
    action := case when tg_op = 'INSERT' then 'operator.enrolled'
                   when new.totp_secret <> old.totp_secret then 'operator.reset'
                   when new.password_hash <> old.password_hash then 'operator.rehashed' end;
  else
    action := case when tg_op = 'INSERT' then 'operator.signed_in'
                   when old.ended_at is null and new.ended_at is not null then 'operator.signed_out' end;
  end if;
  if action is not null then
    perform audit_write(platform, action, 'operator', named, null, null, '{}'::jsonb);
  end if;
  return null;
end $$;
comment on function operators_500_audit is
  'One audit entry per change of a person and per sign-in and sign-out; never a hash, a secret or a token.';
