-- name: create
-- A new merchant.
insert into merchants (name) values (%(name)s)
returning id, name, active, created_at;

-- name: get
-- One merchant.
select id, name, active, created_at from merchants where id = %(merchant_id)s;

-- name: newest
-- Merchants, newest first, with how many keys they can use; the platform is none of them.
select m.id, m.name, m.active, m.created_at,
       (select count(*) from api_keys k
        where k.merchant_id = m.id and k.revoked_at is null
          and (k.expires_at is null or k.expires_at > clock_timestamp())) as usable_keys
from merchants m
where m.id <> '00000000-0000-0000-0000-000000000000'
order by m.created_at desc, m.id desc
limit %(limit)s;
