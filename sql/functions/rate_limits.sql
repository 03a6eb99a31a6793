-- Token buckets: exact over all processes, because the row lock orders the takes and one clock reading follows it.

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
comment on function note_key_use is 'Notes that a key was used, unless that was noted within the last minute; its bucket is locked.';

-- An earlier release's form, without the caller's address.
drop function if exists take_token(text, bytea, text, bigint, bigint, bigint, bigint);

create or replace function take_token(
  p_key_id text, p_secret_hmac bytea, p_class text,
  p_key_rate bigint, p_key_burst bigint, p_merchant_rate bigint, p_merchant_burst bigint, p_address inet default null
) returns table (scope text, allowed boolean, left_micro bigint)
  language plpgsql volatile security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
declare
  v_merchant_id uuid;
  v_at timestamptz;
  v_key rate_limits;
  v_merchant rate_limits;
  v_allowed boolean;
begin
  -- Both sides are an HMAC under a pepper that no caller knows, so how far they agree tells nothing about a secret.
  select found.merchant_id into v_merchant_id from authenticate(p_key_id, p_address) as found where found.secret_hmac = p_secret_hmac;
  if not found then
    return;
  end if;
  -- The key's bucket always before the merchant's: two keys of one merchant never wait for each other in a ring.
  loop
    select * into v_key from rate_limits r
    where r.merchant_id = v_merchant_id and r.scope = 'key' and r.id = p_key_id and r.class = p_class
    for no key update;
    exit when found;
    insert into rate_limits values (v_merchant_id, 'key', p_key_id, p_class, p_key_burst * 1000000, clock_timestamp())
    on conflict do nothing;
  end loop;
  loop
    select * into v_merchant from rate_limits r
    where r.merchant_id = v_merchant_id and r.scope = 'merchant' and r.id = v_merchant_id::text and r.class = p_class
    for no key update;
    exit when found;
    insert into rate_limits
    values (v_merchant_id, 'merchant', v_merchant_id::text, p_class, p_merchant_burst * 1000000, clock_timestamp())
    on conflict do nothing;
  end loop;
  -- Read once and after the locks, and never before the last take: time does not run backwards in a bucket.
  v_at := greatest(clock_timestamp(), v_key.updated_at, v_merchant.updated_at);
  v_key.tokens_micro := tokens_at(v_key.tokens_micro, v_key.updated_at, v_at, p_key_rate, p_key_burst);
  v_merchant.tokens_micro :=
    tokens_at(v_merchant.tokens_micro, v_merchant.updated_at, v_at, p_merchant_rate, p_merchant_burst);
  v_allowed := least(v_key.tokens_micro, v_merchant.tokens_micro) >= 1000000;
  perform note_key_use(v_merchant_id, p_key_id, p_address, v_at);
  -- Both or none: what one bucket refuses costs the other nothing, and a refusal takes nothing.
  if v_allowed then
    v_key.tokens_micro := v_key.tokens_micro - 1000000;
    v_merchant.tokens_micro := v_merchant.tokens_micro - 1000000;
    update rate_limits r set tokens_micro = v_key.tokens_micro, updated_at = v_at
    where r.merchant_id = v_merchant_id and r.scope = 'key' and r.id = p_key_id and r.class = p_class;
    update rate_limits r set tokens_micro = v_merchant.tokens_micro, updated_at = v_at
    where r.merchant_id = v_merchant_id and r.scope = 'merchant' and r.id = v_merchant_id::text and r.class = p_class;
  end if;
  return query values
    ('key', v_allowed or v_key.tokens_micro >= 1000000, v_key.tokens_micro),
    ('merchant', v_allowed or v_merchant.tokens_micro >= 1000000, v_merchant.tokens_micro);
end $$;
comment on function take_token is
  'Take one token of a class from the bucket of a key and that of its merchant, from both or from none; a row for each, '
  'the key''s first. No row when the key is not usable from there or its HMAC is another: a stranger spends and stores nothing.';
grant execute on function take_token to postbox_api; -- at once, as with authenticate
