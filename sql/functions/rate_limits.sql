-- Token buckets: exact over all processes, because the row lock that an UPSERT takes orders the takes, and what it sets is
-- computed after the lock, from the row as it is then and from one reading of the clock.

create or replace function tokens_at(
  p_tokens_micro bigint, p_updated_at timestamptz, p_at timestamptz, p_rate bigint, p_burst bigint
) returns bigint
  language sql immutable
  as $$
    select least(
      p_burst * 1000000::numeric,
      p_tokens_micro + greatest(0, extract(epoch from p_at - p_updated_at) * 1000000) * p_rate
    )::bigint
  $$;
comment on function tokens_at is
  'What a bucket holds at a moment, in millionths: it fills by p_rate tokens per second, up to p_burst. Never a float.';

create or replace function tokens_after(
  p_tokens_micro bigint, p_updated_at timestamptz, p_rate bigint, p_burst bigint, out tokens_micro bigint, out updated_at timestamptz
)
  language plpgsql volatile
  set search_path = postbox, pg_temp
as $$
begin
  -- never before the last take: time does not run backwards in a bucket
  updated_at := greatest(clock_timestamp(), p_updated_at);
  tokens_micro := tokens_at(p_tokens_micro, p_updated_at, updated_at, p_rate, p_burst);
  if tokens_micro >= 1000000 then
    tokens_micro := tokens_micro - 1000000;
  end if;
end $$;
comment on function tokens_after is 'What a bucket holds once somebody asked for a token now: one less, or if there is none what there is.';

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
  -- one plan suits every bucket, and planning takes longer than taking
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
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
  -- merchant's refuses the key has spent: no statement changes a row twice, and neither row sees the other.
  return query
    with of_key as (
      insert into rate_limits as r (merchant_id, scope, id, class, tokens_micro, updated_at)
      values (v_merchant_id, 'key', p_key_id, p_class, (p_key_burst - 1) * 1000000, clock_timestamp())
      on conflict (merchant_id, scope, id, class) do update set (tokens_micro, updated_at) = (
        select t.tokens_micro, t.updated_at from tokens_after(r.tokens_micro, r.updated_at, p_key_rate, p_key_burst) t)
      returning new.tokens_micro, coalesce(
        tokens_at(old.tokens_micro, old.updated_at, new.updated_at, p_key_rate, p_key_burst) >= 1000000, true) as allowed
    ), of_merchant as (
      insert into rate_limits as r (merchant_id, scope, id, class, tokens_micro, updated_at)
      select v_merchant_id, 'merchant', v_merchant_id::text, p_class, (p_merchant_burst - 1) * 1000000, clock_timestamp()
      from of_key where of_key.allowed
      on conflict (merchant_id, scope, id, class) do update set (tokens_micro, updated_at) = (
        select t.tokens_micro, t.updated_at from tokens_after(r.tokens_micro, r.updated_at, p_merchant_rate, p_merchant_burst) t)
      returning new.tokens_micro, coalesce(
        tokens_at(old.tokens_micro, old.updated_at, new.updated_at, p_merchant_rate, p_merchant_burst) >= 1000000, true) as allowed
    ), unasked as (
      select coalesce(max(tokens_at(r.tokens_micro, r.updated_at, clock_timestamp(), p_merchant_rate, p_merchant_burst)),
                      p_merchant_burst * 1000000) as tokens_micro
      from rate_limits r
      where r.merchant_id = v_merchant_id and r.scope = 'merchant' and r.id = v_merchant_id::text and r.class = p_class
    )
    select 'key', k.allowed, k.tokens_micro from of_key k
    union all
    select 'merchant', m.allowed, m.tokens_micro from of_merchant m
    union all
    select 'merchant', u.tokens_micro >= 1000000, u.tokens_micro from of_key k cross join unasked u where not k.allowed;
end $$;
comment on function take_token is
  'Take one token of a class from the bucket of a key and, if it had one, from that of its merchant, in one statement; a row for '
  'each, the key''s first. No row when the key is not usable from there or its HMAC is another: a stranger spends and stores nothing.';
grant execute on function take_token to postbox_api; -- at once, as with authenticate
