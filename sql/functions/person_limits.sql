-- Buckets of people at /ops/v1 and of the addresses they sign in from; and the audit of sign-ins that were refused.

-- An earlier release's form.
drop function if exists take_platform_token(text, text, text, bigint, bigint);

create or replace function take_operator_token(
  p_token_hmac bytea, p_class text, p_idle double precision, p_longest double precision, p_rate bigint, p_burst bigint
) returns table (allowed boolean, left_micro bigint)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  v_operator uuid;
begin
  select o.id into v_operator
  from operator_sessions s join operators o on o.id = s.operator_id
  where s.token_hmac = p_token_hmac and s.ended_at is null and o.disabled_at is null
    and s.created_at > clock_timestamp() - make_interval(secs => p_longest)
    and s.seen_at > clock_timestamp() - make_interval(secs => p_idle);
  if not found then
    return;
  end if;
  select t.allowed, t.left_micro into allowed, left_micro
  from take_from_bucket('00000000-0000-0000-0000-000000000000', 'operator', v_operator::text, p_class, p_rate, p_burst) t;
  if allowed then
    perform nextval('requests_served');
  end if;
  return next;
end $$;
comment on function take_operator_token is
  'One token of the person who holds this session, the same bucket for all sessions of one person; no row for a stranger.';

create or replace function take_sign_in_token(p_address inet, p_rate bigint, p_burst bigint)
  returns table (allowed boolean, left_micro bigint)
  language sql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select t.allowed, t.left_micro
  from take_from_bucket('00000000-0000-0000-0000-000000000000',
    'address', left(encode(sha256(convert_to(sign_in_network(p_address), 'UTF8')), 'hex'), 4), 'write', p_rate, p_burst) t
$$;
comment on function take_sign_in_token is
  'One token of an address that wants to sign in; addresses are hashed into 65,536 buckets, so that inventing them fills nothing.';

-- The name that was typed is kept only if it is an operator's: it may be a password in the wrong field.
create or replace function note_refused_sign_in(p_name text, p_address inet, p_how text) returns void
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  v_platform constant uuid := '00000000-0000-0000-0000-000000000000';
  v_known text := (select o.name from operators o where o.name = p_name);
  v_scope constant text := case when v_known is null then 'nobody' else 'name' end;
  v_bucket constant text := coalesce(left(encode(sha256(convert_to(v_known, 'UTF8')), 'hex'), 4), '0000');
  v_at timestamptz;
  v_row sign_in_failures;
begin
  if p_how not in ('refused', 'blocked') then
    raise exception 'a sign-in is refused or blocked, not %', p_how using errcode = 'PB002';
  end if;
  insert into sign_in_failures values (v_scope, v_bucket, 0, clock_timestamp(), clock_timestamp()) on conflict do nothing;
  select * into strict v_row from sign_in_failures f where f.scope = v_scope and f.bucket = v_bucket for no key update;
  v_at := clock_timestamp();
  if v_row.told_at > v_at - interval '1 second' then
    update sign_in_failures f set untold = least(v_row.untold + 1, 1000000) where f.scope = v_scope and f.bucket = v_bucket;
    return;
  end if;
  perform audit_write(v_platform, 'operator.sign_in_' || p_how, 'operator', coalesce(v_known, 'unknown'), null, null,
    jsonb_build_object('address', host(p_address), 'others_since_the_last', v_row.untold));
  update sign_in_failures f set told_at = v_at, untold = 0 where f.scope = v_scope and f.bucket = v_bucket;
end $$;
comment on function note_refused_sign_in is
  'Audits a sign-in that was refused or blocked, at most one a second of each operator and one of all names that are nobody''s.';
