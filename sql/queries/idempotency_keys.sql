-- name: admit
-- Who holds the API key, and the Idempotency-Key: owned, or waited for until the transaction that owns it is over.
select merchant_id, secret_hmac, livemode, scopes, claimed
from admit_request(%(key_id)s, %(address)s, %(key)s, %(fingerprint)s);

-- name: claim
-- Own the key, or wait for the transaction that does and touch nothing.
insert into idempotency_keys (merchant_id, key, fingerprint) values (%(merchant_id)s, %(key)s, %(fingerprint)s)
on conflict (merchant_id, key) do nothing;

-- name: find
-- What a committed request left under its key.
select fingerprint, status, body from idempotency_keys where merchant_id = %(merchant_id)s and key = %(key)s;

-- name: keep
-- The bytes that answer this request now and every time it is repeated.
select keep_answer(%(merchant_id)s, %(key)s, %(status)s, %(body)s);

-- name: prune
-- Forget keys past their time, a bounded number at a time.
delete from idempotency_keys
where (merchant_id, key) in (
  select merchant_id, key from idempotency_keys
  where created_at < statement_timestamp() - make_interval(secs => %(keep)s)
  order by created_at
  limit %(limit)s);
