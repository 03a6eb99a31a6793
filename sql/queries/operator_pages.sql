-- name: open_payments
-- Payments in one of the open states, newest first: of all that are in it, which is what is on its way.
select p.id as payment_id, p.merchant_id, m.name as merchant, p.state, p.amount, p.amount_captured as captured, p.currency,
       p.reference, p.provider_ref, p.created_at, null as recognised
from (
  select p.* from payments p
  where p.state = %(state)s
    and p.state in ('initiated', 'submitting', 'outcome_unknown', 'submitted', 'requires_action', 'authorized')
    and (%(merchant_id)s::uuid is null or p.merchant_id = %(merchant_id)s)
    and (p.created_at, p.id)
      < (coalesce(%(before_at)s::timestamptz, 'infinity'), coalesce(%(before_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
  order by p.created_at desc, p.id desc
  limit %(limit)s
) p
join merchants m on m.id = p.merchant_id
order by p.created_at desc, p.id desc;

-- name: newest_payments
-- Payments in one of the other states, or in whatever state, newest first: one scan for each merchant's newest, then the
-- page of those who have any on it. There is an index with the state and one without; where one is read the other's branch is not.
with owners as (
  select m.id as merchant_id, m.name
  from merchants m
  cross join lateral (
    (select p.created_at, p.id from payments p
     where %(state)s::text is null and p.merchant_id = m.id
       and (p.created_at, p.id)
         < (coalesce(%(before_at)s::timestamptz, 'infinity'), coalesce(%(before_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
     order by p.created_at desc, p.id desc limit 1)
    union all
    (select p.created_at, p.id from payments p
     where p.state = %(state)s and p.merchant_id = m.id
       and p.state in ('confirmed', 'settled', 'disputed', 'refunded', 'charged_back', 'returned', 'failed', 'canceled')
       and (p.created_at, p.id)
         < (coalesce(%(before_at)s::timestamptz, 'infinity'), coalesce(%(before_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
     order by p.created_at desc, p.id desc limit 1)
  ) newest
  where %(merchant_id)s::uuid is null or m.id = %(merchant_id)s
  order by newest.created_at desc, newest.id desc
  limit %(limit)s
)
select p.id as payment_id, p.merchant_id, owners.name as merchant, p.state, p.amount, p.amount_captured as captured, p.currency,
       p.reference, p.provider_ref, p.created_at, null as recognised
from owners
cross join lateral (
  (select p.* from payments p
   where %(state)s::text is null and p.merchant_id = owners.merchant_id
     and (p.created_at, p.id)
       < (coalesce(%(before_at)s::timestamptz, 'infinity'), coalesce(%(before_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
   order by p.created_at desc, p.id desc limit %(limit)s)
  union all
  (select p.* from payments p
   where p.state = %(state)s and p.merchant_id = owners.merchant_id
     and p.state in ('confirmed', 'settled', 'disputed', 'refunded', 'charged_back', 'returned', 'failed', 'canceled')
     and (p.created_at, p.id)
       < (coalesce(%(before_at)s::timestamptz, 'infinity'), coalesce(%(before_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
   order by p.created_at desc, p.id desc limit %(limit)s)
) p
order by p.created_at desc, p.id desc
limit %(limit)s;

-- name: named_payments
-- Payments that were found by an identifier, newest first, with what it was recognised as.
select p.id as payment_id, p.merchant_id, m.name as merchant, p.state, p.amount, p.amount_captured as captured, p.currency,
       p.reference, p.provider_ref, p.created_at, found.recognised
from unnest(%(merchant_ids)s::uuid[], %(payment_ids)s::uuid[], %(recognised)s::text[]) as found (merchant_id, payment_id, recognised)
join payments p on p.merchant_id = found.merchant_id and p.id = found.payment_id
join merchants m on m.id = p.merchant_id
order by p.created_at desc, p.id desc;

-- name: newest_webhooks
-- Keys of stored provider events, of one type if it is given, newest first: of each owner of an account, of whom there are few.
select w.merchant_id, w.id
from (select distinct merchant_id from provider_accounts) owner
cross join lateral (
  (select w.merchant_id, w.id from webhooks w
   where %(type)s::text is null and w.merchant_id = owner.merchant_id
     and w.id < coalesce(%(before_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
   order by w.id desc limit %(limit)s)
  union all
  (select w.merchant_id, w.id from webhooks w
   where w.type = %(type)s and w.merchant_id = owner.merchant_id
     and w.id < coalesce(%(before_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
   order by w.id desc limit %(limit)s)
) w
order by w.id desc
limit %(limit)s;

-- name: webhooks_of_event
-- Keys of what the provider sent under one id, one for each of its accounts at most.
select w.merchant_id, w.id from webhooks w
where w.provider_event_id = %(provider_event_id)s
  and (%(type)s::text is null or w.type = %(type)s)
  and w.id < coalesce(%(before_id)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by w.id desc
limit %(limit)s;

-- name: webhook
-- The key of one stored provider event, whoever owns its account.
select w.merchant_id, w.id
from (select distinct merchant_id from provider_accounts) owner
cross join lateral (
  select w.merchant_id, w.id from webhooks w
  where w.merchant_id = owner.merchant_id and w.id = %(webhook_id)s limit 1
) w;

-- name: named_webhooks
-- Stored provider events that were found, newest first, with what became of them.
select w.merchant_id, w.id, w.provider, w.account, w.provider_event_id, w.type, w.object_id, w.payment_id, w.payment_ref,
       w.livemode, w.received_at, d.status, d.event_id, d.handler
from unnest(%(merchant_ids)s::uuid[], %(webhook_ids)s::uuid[]) as found (merchant_id, webhook_id)
join webhooks w on w.merchant_id = found.merchant_id and w.id = found.webhook_id
left join lateral (
  select d.status, d.event_id, d.handler
  from events e join deliveries d on d.merchant_id = e.merchant_id and d.event_id = e.id
  where e.merchant_id = w.merchant_id and e.webhook_id = w.id
  order by d.handler limit 1
) d on true
order by w.id desc;

-- name: merchants
-- Merchants, newest first; the platform is none of them.
select m.id as merchant_id, m.name, m.active, m.created_at,
       (select count(*) from api_keys k
        where k.merchant_id = m.id and k.revoked_at is null
          and (k.expires_at is null or k.expires_at > clock_timestamp())) as usable_keys
from merchants m
where m.id <> '00000000-0000-0000-0000-000000000000'
  and (%(before_at)s::timestamptz is null or (m.created_at, m.id) < (%(before_at)s, %(before_id)s::uuid))
order by m.created_at desc, m.id desc
limit %(limit)s;

-- name: keys
-- API keys, newest first, without their hashes.
select k.merchant_id, k.id, k.label, k.livemode, k.scopes, k.allowed_from::text[] as allowed_from, k.created_at, k.expires_at,
       k.revoked_at, k.replaces, u.last_used_at, host(u.last_address) as last_address
from api_keys k
left join api_key_uses u on u.merchant_id = k.merchant_id and u.key_id = k.id
where (%(merchant_id)s::uuid is null or k.merchant_id = %(merchant_id)s)
  and (%(before_at)s::timestamptz is null or (k.created_at, k.id) < (%(before_at)s, %(before_id)s))
order by k.created_at desc, k.id desc
limit %(limit)s;

-- name: discrepancies
-- Disagreements between two books, of one status if it is given, newest first.
select d.merchant_id, d.id, d.type, d.severity, d.status, d.subject, d.payment_id, d.currency, d.expected, d.actual, d.delta,
       d.first_seen_at, d.last_seen_at, d.sla_due_at, d.acknowledged_by, d.closed_at, d.resolved_by, d.approved_by, d.resolution_note
from discrepancies d
where (%(status)s::text is null or d.status = %(status)s)
  and (%(merchant_id)s::uuid is null or d.merchant_id = %(merchant_id)s)
  and (%(before_at)s::timestamptz is null or (d.first_seen_at, d.id) < (%(before_at)s, %(before_id)s::uuid))
order by d.first_seen_at desc, d.id desc
limit %(limit)s;
