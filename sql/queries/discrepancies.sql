-- name: find
-- Discrepancies, the worst first and of those the longest overdue.
select d.*, c.exponent, p.reference, extract(epoch from clock_timestamp() - d.first_seen_at)::float8 as age_s,
       d.closed_at is null and d.sla_due_at < clock_timestamp() as overdue,
       working_days_after(d.first_seen_at, s.acknowledge_within) as acknowledge_due_at
from discrepancies d
join discrepancy_severities s on s.severity = d.severity
left join currencies c on c.code = d.currency
left join payments p on p.merchant_id = d.merchant_id and p.id = d.payment_id
where (%(every)s or d.closed_at is null)
  and (%(id)s::uuid is null or d.id = %(id)s)
  and (%(type)s::text is null or d.type = %(type)s)
  and (%(severity)s::text is null or d.severity = %(severity)s)
  and (%(payment_id)s::uuid is null or d.payment_id = %(payment_id)s)
order by d.closed_at desc nulls first, array_position(array['critical', 'high', 'medium', 'low'], d.severity), d.sla_due_at, d.id
limit %(limit)s;

-- name: history
-- What was done about one discrepancy, from its audit.
select a.recorded_at, a.action, a.actor_type, a.actor_id, a.on_behalf_of, a.reason
from discrepancies d
-- either is found by an index of its own; together they would be looked for in all of the merchant's audit
cross join lateral (
  select * from audit_log l
  where l.merchant_id = d.merchant_id and l.payment_id is null and l.entity_type = 'discrepancy' and l.entity_id = d.id::text
  union all
  select * from audit_log l
  where l.merchant_id = d.merchant_id and l.payment_id = d.payment_id and l.entity_type = 'discrepancy' and l.entity_id = d.id::text
) a
where d.merchant_id = %(merchant_id)s and d.id = %(id)s
order by a.recorded_at, a.id;

-- name: acknowledge
-- Somebody looks after it; no row when it is closed.
update discrepancies set status = 'acknowledged', acknowledged_by = %(by)s, acknowledged_at = clock_timestamp(), resolution_note = %(note)s
where merchant_id = %(merchant_id)s and id = %(id)s and closed_at is null
returning *;

-- name: tell_unacknowledged
-- Tell of those that nobody acknowledged in time; how many.
select tell_unacknowledged(%(limit)s) as told;

-- name: resolve
-- A person closes it and says why; no row when it is closed.
update discrepancies set status = 'resolved', closed_at = clock_timestamp(), resolved_by = %(by)s, resolution_code = %(code)s,
  resolution_note = %(note)s
where merchant_id = %(merchant_id)s and id = %(id)s and closed_at is null
returning *;

-- name: write_off
-- Ask for a write-off, or post the one that another operator has asked for.
select * from write_off_discrepancy(%(merchant_id)s, %(id)s, %(reason)s);

-- name: open_critical
-- How many critical ones are open.
select count(*) as open from discrepancies where severity = 'critical' and closed_at is null;

-- name: count_range
-- How many payments a comparison by hand is about.
select count(*) as payments from payments p
where (%(payment_id)s::uuid is null or p.id = %(payment_id)s) and (%(provider)s::text is null or p.provider = %(provider)s)
  and p.updated_at >= %(since)s and p.updated_at < %(until)s;

-- name: range_page
-- The next payments of a comparison by hand, by key.
select p.merchant_id, p.id as payment_id from payments p
where (p.merchant_id, p.id) > (%(after_merchant)s::uuid, %(after_payment)s::uuid)
  and (%(payment_id)s::uuid is null or p.id = %(payment_id)s) and (%(provider)s::text is null or p.provider = %(provider)s)
  and p.updated_at >= %(since)s and p.updated_at < %(until)s
order by p.merchant_id, p.id
limit %(limit)s;

-- name: lock_page
-- The same payments under their locks, waited for: a comparison by hand leaves nothing out.
select p.merchant_id, p.id as payment_id from payments p
where (p.merchant_id, p.id) in (select * from unnest(%(merchant_ids)s::uuid[], %(payment_ids)s::uuid[]))
order by p.merchant_id, p.id
for no key update;

-- name: preview
-- What a comparison of these payments would open and close; nothing is changed.
with found as (
  select f.*, f.type || ' payment/' || f.payment_id || ' ' || f.ref as fingerprint
  from reconcile_payments(%(merchant_ids)s::uuid[], %(payment_ids)s::uuid[], %(scale)s) f
  where f.evidence_at <= statement_timestamp()
)
select 'open' as would, f.type, t.severity, f.payment_id, 'payment/' || f.payment_id as subject, f.currency, c.exponent, f.expected, f.actual
from found f
join discrepancy_types t on t.type = f.type
left join currencies c on c.code = f.currency
where not exists (
  select from discrepancies d
  where d.merchant_id = f.merchant_id and d.fingerprint = f.fingerprint
    and (d.closed_at is null or d.status in ('resolved', 'written_off')
         and (d.expected, d.actual, d.currency) is not distinct from (f.expected, f.actual, f.currency)))
union all
select 'close', d.type, d.severity, d.payment_id, d.subject, d.currency, c.exponent, d.expected, d.actual
from unnest(%(merchant_ids)s::uuid[], %(payment_ids)s::uuid[]) w (merchant_id, payment_id)
join discrepancies d on d.merchant_id = w.merchant_id and d.subject = 'payment/' || w.payment_id and d.closed_at is null
join discrepancy_types t on t.type = d.type and t.closes_itself
left join currencies c on c.code = d.currency
where not exists (select from found f where f.merchant_id = d.merchant_id and f.fingerprint = d.fingerprint);

-- name: days
-- What was captured per day, provider and currency. Matched: the provider's charge is there, nothing is left in clearing, and nothing is
-- open. Unmatched: something is open, was written off, or was closed by a person and is still found. Outstanding: one book lags behind
-- and may do so for a while yet.
with by_hand as materialized (
  select merchant_id, payment_id, bool_or(status = 'written_off') as is_written_off
  from discrepancies where status in ('resolved', 'written_off') and payment_id is not null
  group by merchant_id, payment_id
),
captured as materialized (
  select p.merchant_id, p.id, p.confirmed_at, p.provider, p.currency, p.amount_captured, h.is_written_off,
         exists (
           select from discrepancies d
           where d.merchant_id = p.merchant_id and d.subject = 'payment/' || p.id and d.closed_at is null) as is_open,
         exists (
           select from provider_transactions x
           where x.merchant_id = p.merchant_id and x.payment_id = p.id and x.kind in ('charge', 'payment'))
         and 0 = (
           select coalesce(sum(l.amount), 0) from ledger_lines l
           where l.account_id = (
             select a.id from ledger_accounts a
             where a.merchant_id = '00000000-0000-0000-0000-000000000000' and a.code = 'clearing:' || p.provider)
             and l.currency = p.currency and l.payment_id = p.id) as is_met
  from payments p
  left join by_hand h on h.merchant_id = p.merchant_id and h.payment_id = p.id
  where p.confirmed_at >= %(since)s and p.confirmed_at < %(until)s and (%(provider)s::text is null or p.provider = %(provider)s)
),
still_found as materialized (
  select distinct f.merchant_id, f.payment_id
  from (
    select array_agg(c.merchant_id) as merchant_ids, array_agg(c.id) as ids
    from captured c where not c.is_open and c.is_written_off = false
  ) w
  cross join lateral reconcile_payments(w.merchant_ids, w.ids, %(scale)s) f
  where f.evidence_at <= clock_timestamp()
)
select (p.confirmed_at at time zone 'UTC')::date as day, p.provider, p.currency, c.exponent, count(*) as payments,
       sum(p.amount_captured)::bigint as captured,
       coalesce(sum(p.amount_captured) filter (where b.verdict = 'matched'), 0)::bigint as matched,
       coalesce(sum(p.amount_captured) filter (where b.verdict = 'outstanding'), 0)::bigint as outstanding,
       coalesce(sum(p.amount_captured) filter (where b.verdict = 'unmatched'), 0)::bigint as unmatched,
       count(*) filter (where b.verdict = 'unmatched') as unmatched_payments
from captured p
join currencies c on c.code = p.currency
left join still_found f on f.merchant_id = p.merchant_id and f.payment_id = p.id
cross join lateral (
  select case when p.is_open or coalesce(p.is_written_off, false) or f.payment_id is not null then 'unmatched'
              when p.is_met then 'matched' else 'outstanding' end as verdict
) b
group by 1, p.provider, p.currency, c.exponent
order by 1, p.provider, p.currency;

-- name: nobodys_days
-- What is in the provider's book and in nobody's of ours, per day, provider and currency: lines about no payment we know.
select (x.created_at_provider at time zone 'UTC')::date as day, x.provider, x.currency, c.exponent, count(*) as lines,
       sum(x.gross)::bigint as unmatched
from provider_transactions x
join currencies c on c.code = x.currency
where x.payment_id is null and x.created_at_provider >= %(since)s and x.created_at_provider < %(until)s
  and (%(provider)s::text is null or x.provider = %(provider)s)
  and not exists (select from ledger_counters k where k.provider = x.provider and k.fact_kind = x.kind)
group by 1, x.provider, x.currency, c.exponent
order by 1, x.provider, x.currency;

-- name: ages
-- Open discrepancies by severity and age.
select severity, discrepancy_bucket(clock_timestamp() - first_seen_at) as bucket, count(*) as open,
       count(*) filter (where sla_due_at < clock_timestamp()) as overdue
from discrepancies
where closed_at is null
group by 1, 2;

-- name: payout
-- One payout, whose account it left, and the lines it is made of.
select o.*, c.exponent, case when o.lines_read_at is not null then sum_of_payout_lines(o) end as lines_sum,
  case when o.lines_read_at is null then extract(epoch from clock_timestamp() - o.recorded_at)::float8 end as not_known_for_s,
  (select count(*) from provider_transactions x
   where x.payout_ref = o.ref and x.provider = o.provider and x.account = o.account and x.kind <> 'payout') as lines
from payouts o
join currencies c on c.code = o.currency
where o.ref = %(ref)s;

-- name: payout_lines
-- The lines of a payout by kind.
select x.kind, x.currency, c.exponent, count(*) as lines, sum(x.gross)::bigint as gross, sum(x.fee)::bigint as fee, sum(x.net)::bigint as net
from provider_transactions x
join currencies c on c.code = x.currency
where x.payout_ref = %(ref)s
group by x.kind, x.currency, c.exponent
order by x.kind;
