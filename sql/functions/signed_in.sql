-- Who is signed in. A person is taken from the session that was opened for what they proved, and not from a name that
-- is set: what proves a session is read by none of the runtime roles.

create or replace function open_session(
  p_operator_id uuid, p_step bigint, p_password_hash text, p_changed_at timestamptz, p_address inet, p_token_hmac bytea
) returns table (name text, role text)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
#variable_conflict use_column
declare
  person operators;
begin
  -- A code works once: no row when this step's, or a later one's, was used, or when what was proven is no longer asked for.
  update operator_credentials c set totp_step = p_step, password_hash = p_password_hash
  from operators o
  where c.operator_id = p_operator_id and c.totp_step < p_step and c.changed_at = p_changed_at
    and o.id = c.operator_id and o.disabled_at is null
  returning o.* into person;
  if not found then
    return;
  end if;
  perform end_sign_in(person.name, p_address), set_config('postbox.on_behalf_of', person.name, true);
  insert into operator_sessions (token_hmac, operator_id, address) values (p_token_hmac, p_operator_id, p_address);
  return query select person.name, person.role;
end $$;
comment on function open_session is
  'Uses up a code, keeps the hash of the password, opens the session: of the door of /ops/v1 alone, which checked both.';

create or replace function enter_session(p_token_hmac bytea, p_idle double precision, p_longest double precision)
  returns table (id uuid, name text, role text)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
#variable_conflict use_column
declare
  found_one record;
begin
  select o.id, o.name, o.role into found_one
  from operator_sessions s join operators o on o.id = s.operator_id
  where s.token_hmac = p_token_hmac and s.ended_at is null and o.disabled_at is null
    and s.created_at > clock_timestamp() - make_interval(secs => p_longest)
    and s.seen_at > clock_timestamp() - make_interval(secs => p_idle);
  if not found then
    return;
  end if;
  perform set_config('postbox.actor_type', 'operator', true), set_config('postbox.actor_id', found_one.name, true),
          set_config('postbox.session', encode(p_token_hmac, 'hex'), true);
  return query select found_one.id, found_one.name, found_one.role;
end $$;
comment on function enter_session is
  'Who holds this token, if their session is open, was not idle for too long and is not too old; the transaction is theirs.';

create or replace function prolong_session(p_token_hmac bytea, p_idle double precision) returns void
  language sql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  update operator_sessions s set seen_at = clock_timestamp()
  where s.token_hmac = p_token_hmac and s.ended_at is null
    and s.seen_at > clock_timestamp() - make_interval(secs => p_idle)
    and s.seen_at < clock_timestamp() - make_interval(secs => least(60, p_idle / 4))
$$;
comment on function prolong_session is
  'Whoever holds this token is not idle: at most once a minute, and of requests that were answered, for a refused one proves no person. One that was idle for too long meanwhile has ended.';

create or replace function end_session(p_token_hmac bytea) returns void
  language sql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  update operator_sessions s set ended_at = clock_timestamp() where s.token_hmac = p_token_hmac and s.ended_at is null
$$;
comment on function end_session is 'Signs out whoever holds this token.';

-- No session lasts longer, whatever the setting; one that ended proves nothing.
create or replace function signed_in_person() returns operators
  language plpgsql stable
  set search_path = postbox, pg_temp
as $$
declare
  person operators;
begin
  select o.* into person
  from operator_sessions s join operators o on o.id = s.operator_id
  where s.token_hmac = decode(nullif(current_setting('postbox.session', true), ''), 'hex')
    and s.ended_at is null and o.disabled_at is null and s.created_at > clock_timestamp() - interval '1 day';
  if not found or person.name is distinct from current_setting('postbox.actor_id', true) then
    raise exception 'nobody is signed in under this name' using errcode = 'PB002';
  end if;
  return person;
end $$;
comment on function signed_in_person is
  'The operator whose session this transaction has entered, and who acts in it; PB002 otherwise. For definer functions.';

create or replace function role_may(p_role text, p_right text) returns boolean
  language sql immutable parallel safe
  return case p_right when 'propose' then p_role in ('operator', 'admin') when 'decide' then p_role in ('approver', 'admin') end;
comment on function role_may is 'Whether a role of people includes to propose, or to decide about, what takes two.';

create or replace function assert_signed_in(p_right text) returns text
  language plpgsql stable
  set search_path = postbox, pg_temp
as $$
declare
  person operators := signed_in_person();
begin
  if not role_may(person.role, p_right) then
    raise exception 'the role % does not include to %', person.role, p_right using errcode = 'PB002';
  end if;
  return person.name;
end $$;
comment on function assert_signed_in is 'The name of who is signed in and may do this; PB002 otherwise. For definer functions.';
