-- An earlier release's form: its columns were others, and a function's columns cannot be replaced.
drop function if exists authenticate(text);

-- Looks an API key up before a merchant is known; the secret is compared outside, in constant time. The address is the
-- caller's as the edge knows it; where a key is bound to networks, no address is a wrong one.
create or replace function authenticate(p_key_id text, p_address inet default null)
  returns table (merchant_id uuid, secret_hmac bytea, livemode boolean, scopes text[])
  language sql stable security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select k.merchant_id, k.secret_hmac, k.livemode, k.scopes
  from api_keys k
  join merchants m on m.id = k.merchant_id
  where k.id = p_key_id and m.active and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > clock_timestamp())
    and (k.allowed_from is null or coalesce(p_address <<= any (k.allowed_from), false))
$$;
comment on function authenticate is 'The merchant, stored HMAC and scopes of an API key that may be used now and from there; no row for any other.';
-- At once and not with grants.sql: between the two the release that runs would be locked out.
grant execute on function authenticate to postbox_api;

-- With the rights of whoever calls: row level security holds the claim to the merchant that was just found.
create or replace function admit_request(p_key_id text, p_address inet, p_idempotency_key text, p_fingerprint bytea)
  returns table (merchant_id uuid, secret_hmac bytea, livemode boolean, scopes text[], claimed boolean)
  language plpgsql volatile
as $$
begin
  select found.merchant_id, found.secret_hmac, found.livemode, found.scopes
  into merchant_id, secret_hmac, livemode, scopes
  from authenticate(p_key_id, p_address) as found;
  if not found then
    return;
  end if;
  perform set_config('postbox.merchant_id', merchant_id::text, true);
  insert into idempotency_keys (merchant_id, key, fingerprint) values (admit_request.merchant_id, p_idempotency_key, p_fingerprint)
  on conflict on constraint idempotency_keys_pkey do nothing;
  claimed := found;
  return next;
end $$;
comment on function admit_request is
  'A writing request''s caller, for whom the transaction acts from here on, and whether its Idempotency-Key is new; no row for'
  ' a key that may not be used now and from there.';
grant execute on function admit_request to postbox_api;

-- The update itself, bound anew for each answer, would be planned anew for each.
create or replace function keep_answer(p_merchant_id uuid, p_key text, p_status integer, p_body bytea) returns void
  language plpgsql volatile
as $$
begin
  update idempotency_keys set status = p_status, body = p_body where merchant_id = p_merchant_id and key = p_key;
end $$;
comment on function keep_answer is 'Stores what answers an Idempotency-Key, in the transaction that claimed it.';
