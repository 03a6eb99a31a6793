-- name: first_due
-- When the first payment is due, from this date on or from the very first; now, if none is due before.
select least(
  (select d.due_at from reconcile_due d where d.due_at >= coalesce(%(since)s::timestamptz, '-infinity') order by d.due_at limit 1),
  statement_timestamp()) as due_at;

-- name: lock_due
-- Payments whose books are to be compared now, of those due from this date on, or of all; locked in the one lock order. What
-- another holds is left for the next pass.
select p.merchant_id, p.id as payment_id
from payments p
where (p.merchant_id, p.id) in (
  select d.merchant_id, d.payment_id from reconcile_due d
  where d.due_at <= statement_timestamp() and d.due_at >= coalesce(%(since)s::timestamptz, '-infinity')
  order by d.due_at limit %(limit)s)
order by p.merchant_id, p.id
for no key update skip locked;

-- name: put_off
-- One that cannot be compared is due again in so many seconds, or when something happens to it.
update reconcile_due set due_at = clock_timestamp() + make_interval(secs => %(seconds)s)
where merchant_id = %(merchant_id)s and payment_id = %(payment_id)s;

-- name: arm_silent
-- One page of the walk over the payments in a state that is no rest, and of those the ones that nobody is going to compare:
-- a wake-up that was lost is made good. All states are named for the partial index, whatever the plan knows of this one; the
-- keys are taken in the order of locks.
with page as (
  select p.merchant_id, p.id, p.updated_at from payments p
  where p.state in ('initiated', 'submitting', 'outcome_unknown', 'submitted', 'requires_action', 'authorized')
    and p.updated_at < statement_timestamp() - make_interval(secs => %(quiet_for)s)
    and p.state = %(state)s and (p.updated_at, p.id) > (%(updated_at)s, %(payment_id)s)
  order by p.updated_at, p.id limit %(limit)s
),
armed as (
  insert into reconcile_due (merchant_id, payment_id, due_at)
  select p.merchant_id, p.id, clock_timestamp() from page p
  where (select d.due_at from reconcile_due d where d.merchant_id = p.merchant_id and d.payment_id = p.id) is null
  order by p.merchant_id, p.id
  on conflict (merchant_id, payment_id) do nothing
  returning 1
)
select (select count(*) from page) as seen, (select count(*) from armed) as armed, last.updated_at, last.id as payment_id
from (select 1) one
left join lateral (select * from page order by updated_at desc, id desc limit 1) last on true;

-- name: compare
-- Compare the books of these payments, whose locks are held; how many discrepancies were opened and closed.
select opened, closed from reconcile(%(merchant_ids)s::uuid[], %(payment_ids)s::uuid[], %(scale)s, %(detected_by)s);
