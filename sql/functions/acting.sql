-- Who acts in this transaction; raises PB003 when nobody was named.
create or replace function acting_type() returns text
  language plpgsql stable parallel safe
as $$
declare
  actor text := nullif(current_setting('postbox.actor_type', true), '');
begin
  if actor is null or nullif(current_setting('postbox.actor_id', true), '') is null then
    raise exception 'no actor is set in this transaction' using errcode = 'PB003';
  end if;
  return actor;
end $$;
comment on function acting_type is 'The actor type of this transaction; PB003 when none is set.';

-- The role the session runs as: SET ROLE if it was used, else the login. Survives SECURITY DEFINER, unlike current_user.
create or replace function acting_role() returns text
  language sql stable parallel safe
  return case current_setting('role') when 'none' then session_user::text else current_setting('role') end;
comment on function acting_role is 'The database role behind this statement, also inside definer functions.';

-- Refuses an actor type that this database role may not set.
create or replace function assert_actor_allowed() returns text
  language plpgsql stable
  set search_path = postbox, pg_temp
as $$
declare
  actor text := acting_type();
begin
  if not exists (select 1 from role_actors where role = acting_role() and actor_type = actor) then
    raise exception 'role % may not act as %', acting_role(), actor using errcode = 'PB002';
  end if;
  if acting_role() = 'postbox_operator' and actor = 'reconciler'
     and nullif(current_setting('postbox.on_behalf_of', true), '') is null then
    raise exception 'an operator acts as reconciler only on behalf of somebody' using errcode = 'PB002';
  end if;
  return actor;
end $$;
comment on function assert_actor_allowed is 'The actor type of this transaction, after checking that the role may set it; PB002 otherwise.';

-- Whom this transaction acts for: what the policies of postbox_api compare with. Empty, as after a first SET LOCAL, is nobody.
create or replace function acting_merchant() returns uuid
  language sql stable parallel safe
  return nullif(current_setting('postbox.merchant_id', true), '')::uuid;
comment on function acting_merchant is 'The merchant this transaction acts for; null when none is set, and then postbox_api sees nothing.';

create or replace function act_in_request(p_event jsonb) returns void
  language plpgsql volatile
as $$
begin
  if p_event ? 'request_id' then
    perform set_config('postbox.request_id', p_event ->> 'request_id', true),
      set_config('postbox.correlation_id', p_event ->> 'trace_id', true),
      set_config('postbox.causation_id', p_event ->> 'trace_id', true);
  end if;
end $$;
comment on function act_in_request is 'From here on the transaction acts in the request that a provider event names, if it does.';
grant execute on function act_in_request to postbox_api, postbox_worker; -- at once, as with authenticate
