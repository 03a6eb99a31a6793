-- name: post_refund
-- J3 to J5, by the event of a refund: asked for, paid, returned. What was returned first is not paid any more.
with told as (
  select e.topic, r.merchant_id, r.id, r.payment_id, r.currency, r.amount, p.provider,
         case when p.settled_at is null then 'merchant:pending' else 'merchant:available' end as merchant,
         exists (select from ledger_entries j where j.merchant_id = r.merchant_id and j.kind = 'refund_paid'
                   and j.source_type = 'refund' and j.source_id = r.id::text) as paid,
         exists (select from ledger_entries j where j.merchant_id = r.merchant_id and j.kind = 'refund_returned'
                   and j.source_type = 'refund' and j.source_id = r.id::text) as returned
  from events e
  join refunds r on r.merchant_id = e.merchant_id and r.id = e.refund_id
  join payments p on p.merchant_id = r.merchant_id and p.id = r.payment_id
  where e.merchant_id = %(merchant_id)s and e.id = %(event_id)s
    -- a merchant who was never credited pays for no refund
    and p.confirmed_at is not null
),
journal as (
  select t.*,
         case when topic = 'refund.requested' then 'refund_requested'
              when topic in ('refund.booked', 'refund.succeeded') then 'refund_paid'
              else 'refund_returned' end as kind,
         case when topic = 'refund.requested' then merchant
              when topic in ('refund.booked', 'refund.succeeded') or not paid then 'refunds_in_flight'
              else 'clearing:' || provider end as debit,
         case when topic = 'refund.requested' then 'refunds_in_flight'
              when topic in ('refund.booked', 'refund.succeeded') then 'clearing:' || provider
              else merchant end as credit
  from told t
  where not (topic in ('refund.booked', 'refund.succeeded') and returned)
)
select ledger_post(merchant_id, kind, 'refund', id::text, payment_id, jsonb_build_array(
  jsonb_build_object('account', debit, 'currency', currency, 'amount', amount),
  jsonb_build_object('account', credit, 'currency', currency, 'amount', -amount)))
from journal;

-- name: post_dispute
-- J6 and J7, by a money line of a dispute: what it moved, and the merchant's fee; the nth reinstatement answers the nth withdrawal.
with told as (
  select e.merchant_id, e.payment_id, e.dispute_id, d.currency, p.provider, m.provider || '/' || m.account || '/' || m.ref as source, m.ref,
         case e.topic when 'dispute.funds_withdrawn' then m.moved else -m.moved end as moved,
         case when p.settled_at is null then 'merchant:pending' else 'merchant:available' end as merchant,
         coalesce(f.dispute_fee_bps, 0) as bps, coalesce(f.dispute_fee_returned, false) as returned
  from events e
  cross join lateral jsonb_to_record(e.payload) as m (provider text, account text, ref text, moved bigint)
  join disputes d on d.merchant_id = e.merchant_id and d.id = e.dispute_id
  join payments p on p.merchant_id = d.merchant_id and p.id = d.payment_id
  left join fee_schedules f on f.id = p.fee_schedule
  where e.merchant_id = %(merchant_id)s and e.id = %(event_id)s and p.confirmed_at is not null
),
lines as (
  select t.ref, t.gross < 0 as withdraws, t.currency, t.fee,
         row_number() over (partition by t.gross < 0 order by t.created_at_provider, t.ref) as nth
  from provider_transactions t, told
  where t.merchant_id = told.merchant_id and t.payment_id = told.payment_id and t.dispute_id = told.dispute_id and t.gross <> 0
),
charged as (
  -- a fee in another currency than the payment's is ours to bear
  select told.*, case when own.withdraws then 1 when told.returned then -1 else 0 end
                 * compute_fee(case when took.currency = told.currency then greatest(took.fee, 0) else 0 end, told.bps, 0) as fee
  from told
  join lines own on own.ref = told.ref
  left join lines took on took.withdraws and took.nth = own.nth
)
select ledger_post(merchant_id, case when moved > 0 then 'dispute_withdrawn' else 'dispute_reinstated' end, 'provider_transaction', source,
  payment_id, jsonb_build_array(
    jsonb_build_object('account', merchant, 'currency', currency, 'amount', moved + coalesce(fee, 0)),
    jsonb_build_object('account', 'clearing:' || provider, 'currency', currency, 'amount', -moved),
    jsonb_build_object('account', 'dispute_fee_income', 'currency', currency, 'amount', -coalesce(fee, 0))))
from charged;

-- name: told_by_children
-- The events of a payment's refunds and disputes that move money, in the order of their telling, with who posts each.
select e.id as event_id, s.handler
from events e
join subscriptions s on s.topic = e.topic and s.handler in ('post_refund', 'post_dispute')
where e.merchant_id = %(merchant_id)s and e.payment_id = %(payment_id)s
order by e.id;
