-- name: audit_counts_every_version
-- Payments whose audit entries are not exactly one per version, and entries of payments that do not exist.
select coalesce(p.merchant_id, a.merchant_id) as merchant_id, coalesce(p.id, a.payment_id) as payment_id,
       format('version %%s, audit entries %%s (versions %%s to %%s)', coalesce(p.version::text, 'none'), coalesce(a.entries, 0), a.lowest, a.highest) as detail
from (select * from payments where %(payment_id)s::uuid is null or id = %(payment_id)s) p
full join (
  select merchant_id, payment_id, count(*) as entries, count(distinct payment_version) as versions,
         min(payment_version) as lowest, max(payment_version) as highest
  from audit_log
  where entity_type = 'payment' and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
  group by merchant_id, payment_id
) a on a.merchant_id = p.merchant_id and a.payment_id = p.id
where (a.entries, a.versions, a.lowest, a.highest) is distinct from (p.version, p.version, 1::bigint, p.version)
limit %(limit)s;

-- name: audit_tells_the_row
-- Payments whose row is not what their audit entries, applied one after another, say it is. What is told alike needs no types.
select p.merchant_id, p.id as payment_id,
       format('differs in %%s', (
         select string_agg(coalesce(r.key, t.key), ', ' order by coalesce(r.key, t.key))
         from jsonb_each(to_jsonb(p)) r full join jsonb_each(typed.row) t on t.key = r.key
         where r.value is distinct from t.value and (jsonb_typeof(r.value) <> 'object' or jsonb_strip_nulls(r.value) <> jsonb_strip_nulls(t.value)))) as detail
from payments p
join lateral (
  select jsonb_object_agg(c.key, c.value order by a.payment_version) as columns
  from audit_log a
  cross join lateral jsonb_each(a.body::jsonb -> 'after') c
  where a.merchant_id = p.merchant_id and a.payment_id = p.id and a.entity_type = 'payment'
) told on jsonb_strip_nulls(told.columns) is distinct from jsonb_strip_nulls(to_jsonb(p))
cross join lateral (
  select to_jsonb(jsonb_populate_record(null::payments, told.columns)) as row
) typed
where (%(payment_id)s::uuid is null or p.id = %(payment_id)s)
  and jsonb_strip_nulls(typed.row) is distinct from jsonb_strip_nulls(to_jsonb(p))
limit %(limit)s;

-- name: audit_hashes_hold
-- Audit entries that no longer have the hash they were written with.
select a.merchant_id, a.payment_id, format('%%s of %%s %%s, entry %%s', a.action, a.entity_type, a.entity_id, a.id) as detail
from audit_log a
where (%(payment_id)s::uuid is null or a.payment_id = %(payment_id)s)
  and a.row_sha256 is distinct from audit_row_sha256(a)
limit %(limit)s;

-- name: evidence_is_audited
-- Provider calls and webhooks without the entries their triggers write: one when opened, one when completed, one when received.
-- Whole before it is cut short: planned for its first rows, it would join by merchant alone, and none of them ever comes.
with broken as materialized (
  select c.merchant_id, c.payment_id, format('provider call %%s', c.id) as detail
  from provider_calls c
  left join (
    select merchant_id, entity_id, count(*) filter (where action = 'provider_call.opened') as opened,
           count(*) filter (where action = 'provider_call.completed') as completed
    from audit_log where entity_type = 'provider_call' group by merchant_id, entity_id
  ) a on a.merchant_id = c.merchant_id and a.entity_id = c.id::text
  where (%(payment_id)s::uuid is null or c.payment_id = %(payment_id)s)
    and (coalesce(a.opened, 0), coalesce(a.completed, 0)) <> (1, (c.finished_at is not null)::integer)
  union all
  select w.merchant_id, w.payment_id, format('webhook %%s', w.provider_event_id)
  from webhooks w
  left join (
    select merchant_id, entity_id, count(*) as received from audit_log
    where entity_type = 'webhook' and action = 'webhook.received' group by merchant_id, entity_id
  ) a on a.merchant_id = w.merchant_id and a.entity_id = w.id::text
  where (%(payment_id)s::uuid is null or w.payment_id = %(payment_id)s) and coalesce(a.received, 0) <> 1
)
select * from broken limit %(limit)s;

-- name: children_are_audited
-- Refunds and disputes without exactly one audit entry per version.
select c.merchant_id, c.payment_id, format('%%s %%s has version %%s and %%s audit entries', c.entity, c.id, c.version, coalesce(a.entries, 0)) as detail
from (
  select 'refund' as entity, merchant_id, id, payment_id, version from refunds
  union all
  select 'dispute', merchant_id, id, payment_id, version from disputes
) c
left join (
  select merchant_id, entity_type, entity_id, count(*) as entries from audit_log
  where entity_type in ('refund', 'dispute') and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
  group by merchant_id, entity_type, entity_id
) a on a.merchant_id = c.merchant_id and a.entity_type = c.entity and a.entity_id = c.id::text
where (%(payment_id)s::uuid is null or c.payment_id = %(payment_id)s) and c.version <> coalesce(a.entries, 0)
limit %(limit)s;
