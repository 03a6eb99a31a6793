-- Looks an API key up before a merchant is known; the secret is compared outside, in constant time.
create or replace function authenticate(p_key_id text)
  returns table (merchant_id uuid, secret_hmac bytea, livemode boolean)
  language sql stable security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select k.merchant_id, k.secret_hmac, k.livemode
  from api_keys k
  join merchants m on m.id = k.merchant_id
  where k.id = p_key_id and m.active and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > clock_timestamp())
$$;
comment on function authenticate is 'The merchant and stored HMAC of a usable API key; no row for any other.';
