-- name: settled_means_available
-- Settled payments without an available charge line of the provider.
select p.merchant_id, p.id as payment_id, format('settled at %%s', p.settled_at) as detail
from payments p
where p.settled_at is not null and (%(payment_id)s::uuid is null or p.id = %(payment_id)s)
  and not exists (
    select from provider_transactions t
    where t.merchant_id = p.merchant_id and t.payment_id = p.id and t.kind in ('charge', 'payment') and t.status = 'available')
limit %(limit)s;

-- name: captured_is_what_the_provider_took
-- Payments whose captured amount is not the sum of the provider's charge lines, in their currency where it is the same.
select p.merchant_id, p.id as payment_id, format('captured %%s, the provider took %%s %%s', p.amount_captured, t.gross, p.currency) as detail
from payments p
join (
  select merchant_id, payment_id, currency, sum(gross) as gross from provider_transactions
  where kind in ('charge', 'payment') and payment_id is not null group by merchant_id, payment_id, currency
) t on t.merchant_id = p.merchant_id and t.payment_id = p.id and t.currency = p.currency
where t.gross <> p.amount_captured and (%(payment_id)s::uuid is null or p.id = %(payment_id)s)
limit %(limit)s;

-- name: closed_payments_hold_no_money
-- Failed or canceled payments with captured or capturable money at the provider: they wait for a person.
select merchant_id, id as payment_id,
       format('%%s, captured %%s%%s', state, amount_captured, coalesce(', money after final at ' || money_after_final_at, '')) as detail
from payments
where state in ('failed', 'canceled') and (amount_captured > 0 or money_after_final_at is not null)
  and (%(payment_id)s::uuid is null or id = %(payment_id)s)
limit %(limit)s;

-- name: children_add_up
-- Payments whose refund and dispute sums are not what their children come to.
select p.merchant_id, p.id as payment_id,
       format('refund pending %%s, refunded %%s, disputed %%s, lost %%s; its children come to %%s, %%s, %%s, %%s', p.amount_refund_pending,
              p.amount_refunded, p.amount_disputed, p.amount_lost, f.refund_pending, f.refunded, f.disputed, f.lost) as detail
from (
  select merchant_id, id from payments where amount_refund_pending > 0 or amount_refunded > 0 or amount_disputed > 0 or amount_lost > 0
  union
  select merchant_id, payment_id from refunds
  union
  select merchant_id, payment_id from disputes
) c
join payments p on p.merchant_id = c.merchant_id and p.id = c.id
cross join lateral facts_of_children(p.merchant_id, p.id) f
where (%(payment_id)s::uuid is null or p.id = %(payment_id)s)
  and (p.amount_refund_pending, p.amount_refunded, p.amount_disputed, p.amount_lost)
      is distinct from (f.refund_pending, f.refunded, f.disputed, f.lost)
limit %(limit)s;

-- name: refunds_fit_what_was_captured
-- Payments of which more was refunded, or is about to be, than was captured.
select merchant_id, id as payment_id,
       format('captured %%s, refunded %%s and %%s pending', amount_captured, amount_refunded, amount_refund_pending) as detail
from payments
where amount_refunded + amount_refund_pending > amount_captured and (%(payment_id)s::uuid is null or id = %(payment_id)s)
limit %(limit)s;

-- name: states_follow_the_facts
-- Confirmed payments in another state than their facts say.
select merchant_id, id as payment_id, format('%%s, its facts say %%s', state, said) as detail
from (
  select p.*, state_of_facts(method, amount_captured, amount_refunded, amount_disputed, amount_lost, settled_at, state = 'returned') as said
  from payments p
  where confirmed_at is not null and state not in ('failed', 'canceled') and (%(payment_id)s::uuid is null or id = %(payment_id)s)
) p
where state <> said
limit %(limit)s;

-- name: discrepancies_are_what_is_found
-- Payments whose open discrepancies are not what their books say now, though no comparison is due that would tell: what has
-- just happened to one is compared in half a second (reconcile_soon).
with quiet as (
  select p.merchant_id, p.id from payments p
  where (%(payment_id)s::uuid is null or p.id = %(payment_id)s)
    and not exists (
      select from reconcile_due d
      where d.merchant_id = p.merchant_id and d.payment_id = p.id and d.due_at <= statement_timestamp() + interval '1 second')
),
found as (
  select f.*, f.type || ' payment/' || f.payment_id || ' ' || f.ref as fingerprint
  from (select array_agg(merchant_id) as merchant_ids, array_agg(id) as ids from quiet) q
  cross join lateral reconcile_payments(q.merchant_ids, q.ids, %(silence)s) f
)
select f.merchant_id, f.payment_id, format('%%s since %%s is not open', f.type, f.evidence_at) as detail
from found f
where f.evidence_at < statement_timestamp() - make_interval(secs => %(grace)s)
  and not exists (
    select from discrepancies d
    where d.merchant_id = f.merchant_id and d.fingerprint = f.fingerprint
      and (d.closed_at is null or d.status in ('resolved', 'written_off')))
union all
select d.merchant_id, d.payment_id, format('%%s %%s is open and no longer true', d.type, d.id)
from discrepancies d
join quiet q on q.merchant_id = d.merchant_id and q.id = d.payment_id
join discrepancy_types t on t.type = d.type and t.closes_itself
where d.closed_at is null
  and not exists (select from found f where f.merchant_id = d.merchant_id and f.fingerprint = d.fingerprint)
limit %(limit)s;
