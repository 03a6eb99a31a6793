-- When a key was used last is told to the minute: one write per key and minute, in the transaction that takes its token.
create or replace function note_key_use(p_merchant_id uuid, p_key_id text, p_address inet, p_at timestamptz) returns void
  language sql volatile
  set search_path = postbox, pg_temp
as $$
  insert into api_key_uses as u (merchant_id, key_id, last_used_at, last_address)
  select p_merchant_id, p_key_id, p_at, p_address
  where not exists (select from api_key_uses k where k.merchant_id = p_merchant_id and k.key_id = p_key_id
                    and k.last_used_at > p_at - interval '1 minute')
  on conflict (merchant_id, key_id) do update set last_used_at = excluded.last_used_at, last_address = excluded.last_address
$$;
comment on function note_key_use is 'Notes that a key was used, unless that was noted within the last minute.';

-- An earlier release's form, without the caller's address.
drop function if exists take_token(text, bytea, text, bigint, bigint, bigint, bigint);

create or replace function take_token(
  p_key_id text, p_secret_hmac bytea, p_class text,
  p_key_rate bigint, p_key_burst bigint, p_merchant_rate bigint, p_merchant_burst bigint, p_address inet default null
) returns table (scope text, allowed boolean, left_micro bigint)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_merchant_id uuid;
begin
  -- Both sides are an HMAC under a pepper that no caller knows, so how far they agree tells nothing about a secret.
  select found.merchant_id into v_merchant_id from authenticate(p_key_id, p_address) as found where found.secret_hmac = p_secret_hmac;
  if not found then
    return;
  end if;
  perform note_key_use(v_merchant_id, p_key_id, p_address, clock_timestamp());
  -- The key's bucket always before the merchant's, which is asked for what the key allows and nothing else: two keys of one
  -- merchant never wait for each other in a ring, and one that asks for too much takes nothing from the others. What the
  -- merchant's refuses the key has spent.
  scope := 'key';
  select t.allowed, t.left_micro into allowed, left_micro
  from take_from_bucket(v_merchant_id, 'key', p_key_id, p_class, p_key_rate, p_key_burst) t;
  return next;
  if allowed then
    select t.allowed, t.left_micro into allowed, left_micro
    from take_from_bucket(v_merchant_id, 'merchant', v_merchant_id::text, p_class, p_merchant_rate, p_merchant_burst) t;
    -- who is let in is served, and workers with a backlog make room for him; for a stranger, or one who asks for too much, nobody does
    if allowed then
      perform nextval('requests_served');
    end if;
  else
    left_micro := tokens_in_bucket(v_merchant_id, 'merchant', v_merchant_id::text, p_class, p_merchant_rate, p_merchant_burst);
    allowed := left_micro >= 1000000;
  end if;
  scope := 'merchant';
  return next;
end $$;
comment on function take_token is
  'Take one token of a class from the bucket of a key and, if it had one, from that of its merchant, in one round trip; a row for '
  'each, the key''s first. No row when the key is not usable from there or its HMAC is another: a stranger spends and stores nothing.';
grant execute on function take_token to postbox_api; -- at once, as with authenticate
