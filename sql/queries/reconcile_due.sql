-- name: lock_due
-- Payments whose books are to be compared now, locked in the one lock order; what another holds is left for the next pass.
select p.merchant_id, p.id as payment_id
from payments p
where (p.merchant_id, p.id) in (
  select d.merchant_id, d.payment_id from reconcile_due d where d.due_at <= statement_timestamp() order by d.due_at limit %(limit)s)
order by p.merchant_id, p.id
for no key update skip locked;

-- name: arm_silent
-- Payments that are not at rest and that nobody is going to look at: a wake-up that was lost is made good. A page by key.
with page as (
  select p.merchant_id, p.id from payments p
  where p.state in ('initiated', 'submitting', 'outcome_unknown', 'submitted', 'requires_action', 'authorized')
    and p.updated_at < statement_timestamp() - make_interval(secs => %(quiet_for)s)
    and not exists (select from reconcile_due d where d.merchant_id = p.merchant_id and d.payment_id = p.id)
  order by p.state, p.updated_at limit %(limit)s
)
insert into reconcile_due (merchant_id, payment_id, due_at)
select merchant_id, id, clock_timestamp() from page
on conflict (merchant_id, payment_id) do nothing;

-- name: compare
-- Compare the books of these payments, whose locks are held; how many discrepancies were opened and closed.
select opened, closed from reconcile(%(merchant_ids)s::uuid[], %(payment_ids)s::uuid[], %(scale)s, %(detected_by)s);
