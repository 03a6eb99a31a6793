-- name: create
-- Store what lets a key be checked, never the key.
insert into api_keys (merchant_id, id, secret_hmac, label, livemode)
values (%(merchant_id)s, %(key_id)s, %(secret_hmac)s, %(label)s, %(livemode)s)
returning merchant_id, id, label, livemode, created_at;

-- name: revoke
-- End a key's life once; no row when it does not exist or has ended already.
update api_keys set revoked_at = clock_timestamp()
where id = %(key_id)s and revoked_at is null
returning merchant_id, id, label, livemode, created_at, expires_at, revoked_at;

-- name: get
-- One key, without its hash.
select merchant_id, id, label, livemode, created_at, expires_at, revoked_at from api_keys where id = %(key_id)s;

-- name: newest
-- Keys, newest first, of one merchant or of all.
select k.merchant_id, m.name as merchant, k.id, k.label, k.livemode, k.created_at, k.expires_at, k.revoked_at,
       case when k.revoked_at is not null then 'revoked'
            when k.expires_at <= clock_timestamp() then 'expired'
            when not m.active then 'merchant inactive'
            else 'usable' end as status
from api_keys k
join merchants m on m.id = k.merchant_id
where %(merchant_id)s::uuid is null or k.merchant_id = %(merchant_id)s
order by k.created_at desc, k.id desc
limit %(limit)s;

-- name: authenticate
-- The merchant and stored HMAC of a usable key; the transaction carries the merchant from here on.
select found.merchant_id, found.secret_hmac, found.livemode,
       set_config('postbox.merchant_id', found.merchant_id::text, true) as carried
from authenticate(%(key_id)s) as found;
