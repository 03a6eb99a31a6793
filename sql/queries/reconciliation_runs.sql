-- name: request
-- One run for this window of time, for whoever owns the account; nothing when it was asked for before.
insert into reconciliation_runs (merchant_id, kind, provider, account, subject, asked_by, position)
select merchant_id, %(kind)s, provider, account,
       coalesce(%(subject)s, to_char(to_timestamp(floor(extract(epoch from clock_timestamp()) / %(every)s) * %(every)s) at time zone 'UTC',
         'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
       %(asked_by)s, %(position)s
from provider_accounts
where provider = %(provider)s and account = %(account)s
on conflict (merchant_id, provider, account, kind, subject) do nothing;

-- name: prove_again
-- One more proof for this window of time, or for this subject, of a balance that differs; nothing while one is under way.
insert into reconciliation_runs (merchant_id, kind, provider, account, subject, asked_by, position)
select a.merchant_id, 'balance', a.provider, a.account,
       'again ' || coalesce(%(subject)s, to_char(to_timestamp(floor(extract(epoch from clock_timestamp()) / %(every)s) * %(every)s)
         at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
       %(asked_by)s, '{"once": true}'
from provider_accounts a
where a.provider = %(provider)s and a.account = %(account)s
  and exists (
    select from discrepancies d
    where d.merchant_id = a.merchant_id and d.subject = 'account/' || a.provider || '/' || a.account
      and d.type = 'balance_mismatch' and d.closed_at is null)
  and not exists (
    select from reconciliation_runs r
    where r.merchant_id = a.merchant_id and r.provider = a.provider and r.account = a.account
      and r.kind = 'balance' and r.status = 'requested')
on conflict (merchant_id, provider, account, kind, subject) do nothing;

-- name: ask_about_unread_payouts
-- One more question in this window of time about each payout that was not itemised when it was read last; none while one is under way.
insert into reconciliation_runs (merchant_id, kind, provider, account, subject, asked_by, position)
select o.merchant_id, 'payout', o.provider, o.account, again.subject, 'clock', jsonb_build_object('ref', o.ref)
from payouts o
cross join lateral (
  select o.ref || ' again ' || to_char(to_timestamp(floor(extract(epoch from clock_timestamp()) / %(every)s) * %(every)s)
    at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as subject
) again
where o.provider = %(provider)s and o.account = %(account)s and o.automatic and o.lines_read_at is null
  and o.status in ('pending', 'in_transit', 'paid') and o.recorded_at < clock_timestamp() - make_interval(secs => %(every)s)
  and not exists (
    select from reconciliation_runs r
    where r.merchant_id = o.merchant_id and r.provider = o.provider and r.account = o.account and r.kind = 'payout'
      and (r.subject = again.subject or (r.status = 'requested' and r.position ->> 'ref' = o.ref)))
order by o.arrives_at limit %(limit)s
on conflict (merchant_id, provider, account, kind, subject) do nothing;

-- name: get
-- One run, and the moment from which changes were last read completely.
select r.*, (
  select max(before.requested_at) from reconciliation_runs before
  where before.merchant_id = r.merchant_id and before.provider = r.provider and before.account = r.account
    and before.kind = r.kind and before.status = 'finished') as read_until
from reconciliation_runs r
where r.merchant_id = %(merchant_id)s and r.id = %(run_id)s;

-- name: move
-- How far a run is, and what it found so far.
update reconciliation_runs set position = %(position)s, found = %(found)s
where merchant_id = %(merchant_id)s and id = %(run_id)s and status = 'requested';

-- name: finish
-- A run is over; what it found stays.
update reconciliation_runs set status = 'finished', finished_at = clock_timestamp(), found = %(found)s
where merchant_id = %(merchant_id)s and id = %(run_id)s and status = 'requested';

-- name: open_walk
-- The oldest walk of its kind that is not over: a night over the payments, or one over the ledger.
select * from reconciliation_runs where kind = %(kind)s and status = 'requested' order by requested_at limit 1 for update skip locked;

-- name: night_page
-- The next payments by key, read without a lock: how many of them changed lately, those about which a comparison would
-- change something, and where the page ends, which is no further than so many of those; no row at the end of the table.
with page as materialized (
  select p.merchant_id, p.id, p.updated_at > clock_timestamp() - make_interval(secs => %(back)s) as is_recent
  from payments p
  where (p.merchant_id, p.id) > (%(merchant_id)s::uuid, %(payment_id)s::uuid)
  order by p.merchant_id, p.id limit %(limit)s
),
found as materialized (
  select f.merchant_id, f.payment_id, min(f.evidence_at) as at
  from (select array_agg(merchant_id) as merchant_ids, array_agg(id) as ids from page where is_recent) w
  cross join lateral reconcile_payments(w.merchant_ids, w.ids, %(scale)s) f
  group by f.merchant_id, f.payment_id
),
-- something is wrong, or was until now, or will be without anybody being going to compare it
amiss as materialized (
  select g.merchant_id, g.id, row_number() over (order by g.merchant_id, g.id) as number
  from page g
  left join found f on f.merchant_id = g.merchant_id and f.payment_id = g.id
  left join reconcile_due d on d.merchant_id = g.merchant_id and d.payment_id = g.id
  where g.is_recent
    and (f.at <= clock_timestamp() or f.at < coalesce(d.due_at, 'infinity')
      or exists (
        select from discrepancies o
        where o.merchant_id = g.merchant_id and o.subject = 'payment/' || g.id and o.closed_at is null))
),
page_end as (
  select merchant_id, id from amiss where number = %(most)s
  union all
  (select g.merchant_id, g.id from page g where (select count(*) from amiss) < %(most)s order by g.merchant_id desc, g.id desc limit 1)
)
select (select count(*) from page g where g.is_recent and (g.merchant_id, g.id) <= (e.merchant_id, e.id)) as payments,
       (select coalesce(array_agg(a.merchant_id order by a.number), '{}') from amiss a where a.number <= %(most)s) as merchant_ids,
       (select coalesce(array_agg(a.id order by a.number), '{}') from amiss a where a.number <= %(most)s) as payment_ids,
       e.merchant_id, e.id as payment_id,
       (select count(*) from page) < %(limit)s and (select count(*) from amiss) < %(most)s as is_last
from page_end e;

-- name: lock_amiss
-- These payments in the one lock order; what another holds is being changed, and compared after that.
select p.merchant_id, p.id as payment_id from payments p
where (p.merchant_id, p.id) in (select * from unnest(%(merchant_ids)s::uuid[], %(payment_ids)s::uuid[]))
order by p.merchant_id, p.id
for no key update skip locked;

-- name: proofs
-- The last proof of each account's balance in a day: the one that is over, else the one under way.
select distinct on (merchant_id, provider, account)
  merchant_id, provider, account, subject, status, asked_by, requested_at, finished_at, found
from reconciliation_runs
where kind = 'balance' and requested_at >= %(since)s and requested_at < %(until)s
order by merchant_id, provider, account, finished_at desc nulls last, requested_at desc;

-- name: ledger_page
-- The next page of entries or of merchants' accounts, compared with themselves; no place when it was the last.
select opened, last_merchant_id as merchant_id, last_id as id
from reconcile_ledger(%(part)s, %(merchant_id)s, %(id)s, %(limit)s, %(detected_by)s);

-- name: preview_ledger_page
-- What the same page would open, and where it ends; nothing is changed.
select i.last_merchant_id as merchant_id, i.last_id as id, coalesce((
  select jsonb_agg(jsonb_build_object('would', 'open', 'type', f.type, 'severity', t.severity, 'payment_id', null, 'subject', f.subject,
           'currency', f.currency, 'exponent', c.exponent, 'expected', f.expected, 'actual', f.actual))
  from jsonb_to_recordset(i.imbalances) f (merchant_id uuid, subject text, type text, ref text, currency text, expected bigint, actual bigint)
  join discrepancy_types t on t.type = f.type
  left join currencies c on c.code = f.currency
  where not exists (
    select from discrepancies d
    where d.merchant_id = f.merchant_id and d.fingerprint = f.type || ' ' || f.subject || ' ' || f.ref
      and (d.closed_at is null or (d.expected, d.actual, d.currency) is not distinct from (f.expected, f.actual, f.currency)))), '[]') as plan
from ledger_imbalances(%(part)s, %(merchant_id)s, %(id)s, %(limit)s) i;

-- name: balance_of_lines
-- What the provider's lines that are dated before a moment come to, and what our books hold for the same lines.
select t.provider, t.account, t.currency, c.exponent, sum(t.net)::bigint as lines, coalesce(sum(b.amount), 0)::bigint as books
from provider_transactions t
join currencies c on c.code = t.currency
cross join lateral (
  select sum(l.amount) as amount
  from ledger_entries e
  left join ledger_entries r on r.merchant_id = e.merchant_id and r.reverses_entry_id = e.id
  join ledger_lines l on l.merchant_id = e.merchant_id and l.entry_id in (e.id, r.id) and l.currency = t.currency
  join ledger_accounts a on a.merchant_id = l.account_merchant_id and a.id = l.account_id
   and a.code in (t.provider || ':pending', t.provider || ':available')
  -- a line that was matched later was booked while it was the platform's
  where e.merchant_id in (t.merchant_id, '00000000-0000-0000-0000-000000000000') and e.kind in ('fact_recorded', 'fact_available')
    and e.source_type = 'provider_transaction' and e.source_id = t.provider || '/' || t.account || '/' || t.ref
) b
where t.created_at_provider < %(until)s
group by t.provider, t.account, t.currency, c.exponent
order by t.provider, t.account, t.currency;
