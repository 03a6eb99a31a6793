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

-- name: open_night
-- The oldest night that is not over.
select * from reconciliation_runs where kind = 'nightly' and status = 'requested' order by requested_at limit 1 for update skip locked;

-- name: night_page
-- The next payments by key that changed lately, locked; `last` is where the page ends, whatever was left out of it.
with page as materialized (
  select p.merchant_id, p.id, p.updated_at from payments p
  where (p.merchant_id, p.id) > (%(merchant_id)s::uuid, %(payment_id)s::uuid)
  order by p.merchant_id, p.id limit %(limit)s
)
select p.merchant_id, p.id as payment_id
from payments p
where (p.merchant_id, p.id) in (select merchant_id, id from page where updated_at > clock_timestamp() - make_interval(secs => %(back)s))
order by p.merchant_id, p.id
for no key update skip locked;

-- name: night_end
-- Where a page of so many keys ends; no row at the end of the table.
select p.merchant_id, p.id as payment_id from payments p
where (p.merchant_id, p.id) > (%(merchant_id)s::uuid, %(payment_id)s::uuid)
order by p.merchant_id, p.id offset %(limit)s - 1 limit 1;

-- name: proofs
-- The proofs of balance of a day, newest first.
select merchant_id, provider, account, subject, status, asked_by, requested_at, finished_at, found
from reconciliation_runs
where kind = 'balance' and requested_at >= %(since)s and requested_at < %(until)s
order by requested_at desc;
