-- name: create
-- Store what lets a key be checked, never the key.
insert into api_keys (merchant_id, id, secret_hmac, label, livemode, scopes, allowed_from, expires_at, replaces)
values (%(merchant_id)s, %(key_id)s, %(secret_hmac)s, %(label)s, %(livemode)s, %(scopes)s, %(allowed_from)s::cidr[],
        %(expires_at)s, %(replaces)s)
returning merchant_id, id, label, livemode, scopes, allowed_from::text[] as allowed_from, expires_at, replaces, created_at;

-- name: revoke
-- End a key's life once; no row when it does not exist or has ended already.
update api_keys set revoked_at = clock_timestamp()
where id = %(key_id)s and revoked_at is null
returning merchant_id, id, label, livemode, scopes, created_at, expires_at, revoked_at;

-- name: expire_after
-- A key that was rotated works so many seconds longer, and never longer than it would have.
update api_keys set expires_at = least(expires_at, clock_timestamp() + make_interval(secs => %(seconds)s))
where merchant_id = %(merchant_id)s and id = %(key_id)s
returning expires_at;

-- name: get
-- One key, without its hash.
select k.merchant_id, k.id, k.label, k.livemode, k.scopes, k.allowed_from::text[] as allowed_from, k.created_at, k.expires_at,
       k.revoked_at, n.id as replaced_by
from api_keys k
left join api_keys n on n.merchant_id = k.merchant_id and n.replaces = k.id
where k.id = %(key_id)s;

-- name: newest
-- Keys, newest first, of one merchant or of all.
select k.merchant_id, m.name as merchant, k.id, k.label, k.livemode, k.scopes, k.allowed_from::text[] as allowed_from,
       k.created_at, k.expires_at, k.revoked_at, k.replaces, u.last_used_at, host(u.last_address) as last_address,
       case when k.revoked_at is not null then 'revoked'
            when k.expires_at <= clock_timestamp() then 'expired'
            when not m.active then 'merchant inactive'
            else 'usable' end as status
from api_keys k
join merchants m on m.id = k.merchant_id
left join api_key_uses u on u.merchant_id = k.merchant_id and u.key_id = k.id
where (%(merchant_id)s::uuid is null or k.merchant_id = %(merchant_id)s)
order by k.created_at desc, k.id desc
limit %(limit)s;

-- name: authenticate
-- The merchant, stored HMAC and scopes of a usable key; the transaction carries the merchant from here on.
select found.merchant_id, found.secret_hmac, found.livemode, found.scopes,
       set_config('postbox.merchant_id', found.merchant_id::text, true) as carried
from authenticate(%(key_id)s, %(address)s) as found;
