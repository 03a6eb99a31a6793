-- name: clearing_is_zero
-- Payments whose two books do not meet: beyond the grace, and when quiesced at all.
select l.merchant_id, l.payment_id, format('%%s holds %%s %%s', a.code, sum(l.amount), l.currency) as detail
from ledger_accounts a
join ledger_lines l on l.account_merchant_id = a.merchant_id and l.account_id = a.id
join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id
where a.code like 'clearing:%%' and (%(payment_id)s::uuid is null or l.payment_id = %(payment_id)s)
group by l.merchant_id, l.payment_id, l.currency, a.code
having sum(l.amount) <> 0
  and (%(quiesced)s or max(e.recorded_at) < clock_timestamp() - make_interval(secs => %(clearing_grace)s))
limit %(limit)s;

-- name: credits_follow_the_state
-- Confirmed payments that are not credited, and settled ones with something left in pending, though no delivery is open that would.
-- The sums are made before anything is asked about them: for few rows, which there never are, each payment's would be looked up.
with pending as materialized (
  select l.merchant_id, l.payment_id, l.currency, sum(l.amount) as amount
  from ledger_accounts a
  join ledger_lines l on l.account_merchant_id = a.merchant_id and l.account_id = a.id
  where a.code = 'merchant:pending' and (%(payment_id)s::uuid is null or l.payment_id = %(payment_id)s)
  group by l.merchant_id, l.payment_id, l.currency
  having sum(l.amount) <> 0
)
select p.merchant_id, p.id as payment_id, 'confirmed and never credited' as detail
from payments p
where p.confirmed_at is not null and (%(payment_id)s::uuid is null or p.id = %(payment_id)s)
  and not exists (
    select from ledger_entries e
    where e.merchant_id = p.merchant_id and e.kind = 'payment_credited' and e.source_type = 'payment' and e.source_id = p.id::text)
  and not exists (
    select from deliveries d
    where d.merchant_id = p.merchant_id and d.payment_id = p.id and d.handler = 'credit_merchant' and d.status <> 'done')
union all
select s.merchant_id, s.payment_id, format('settled with %%s %%s in pending', s.amount, s.currency)
from pending s
join payments p on p.merchant_id = s.merchant_id and p.id = s.payment_id and p.settled_at is not null
where not exists (
  select from deliveries d
  where d.merchant_id = s.merchant_id and d.payment_id = s.payment_id and d.handler = 'release_funds' and d.status <> 'done')
limit %(limit)s;

-- name: facts_are_booked
-- Money lines of the provider that are in no entry, though no delivery is open that would book them.
select t.merchant_id, t.payment_id, format('%%s %%s of %%s %%s is in no entry', t.kind, t.ref, t.gross, t.currency) as detail
from provider_transactions t
where (t.gross, t.fee) <> (0, 0) and (%(payment_id)s::uuid is null or t.payment_id = %(payment_id)s)
  and not exists (
    select from ledger_entries e
    -- one that was matched later was booked while it was the platform's
    where e.merchant_id in (t.merchant_id, '00000000-0000-0000-0000-000000000000') and e.kind = 'fact_recorded'
      and e.source_type = 'provider_transaction' and e.source_id = t.provider || '/' || t.account || '/' || t.ref)
  and not exists (
    select from deliveries d
    join events v on v.merchant_id = d.merchant_id and v.id = d.event_id
    where d.handler = 'post_fact' and d.status <> 'done' and v.topic = 'fact.recorded' and v.payload ->> 'ref' = t.ref)
limit %(limit)s;

-- name: refunds_in_flight_are_under_way
-- Payments whose money between merchant and provider is not that of refunds asked for and not yet paid, though no delivery is open.
select x.merchant_id, x.payment_id, format('%%s %%s in flight, refunds under way come to %%s', x.booked, x.currency, x.expected) as detail
from (
  select r.merchant_id, r.payment_id, r.currency,
         (select coalesce(-sum(l.amount), 0)
          from ledger_accounts a
          join ledger_lines l on l.account_merchant_id = a.merchant_id and l.account_id = a.id and l.payment_id = r.payment_id
          where a.code = 'refunds_in_flight') as booked,
         coalesce(sum(r.amount) filter (where r.state in ('requested', 'submitting', 'outcome_unknown', 'pending') and not exists (
           select from provider_transactions t
           where t.merchant_id = r.merchant_id and t.payment_id = r.payment_id and t.refund_id = r.id and t.gross < 0)), 0) as expected
  from refunds r
  join payments p on p.merchant_id = r.merchant_id and p.id = r.payment_id and p.confirmed_at is not null
  where %(payment_id)s::uuid is null or r.payment_id = %(payment_id)s
  group by r.merchant_id, r.payment_id, r.currency
) x
where x.booked <> x.expected
  and not exists (
    select from deliveries d
    where d.merchant_id = x.merchant_id and d.payment_id = x.payment_id and d.handler = 'post_refund' and d.status <> 'done')
limit %(limit)s;

-- name: dispute_lines_are_booked
-- Money lines of disputes that our side has not booked, though no delivery is open that would.
select t.merchant_id, t.payment_id, format('%%s %%s of dispute %%s is in no journal of ours', t.ref, t.gross, t.dispute_id) as detail
from provider_transactions t
join payments p on p.merchant_id = t.merchant_id and p.id = t.payment_id and p.confirmed_at is not null
where t.dispute_id is not null and t.gross <> 0 and (%(payment_id)s::uuid is null or t.payment_id = %(payment_id)s)
  and not exists (
    select from ledger_entries e
    where e.merchant_id = t.merchant_id and e.kind = case when t.gross < 0 then 'dispute_withdrawn' else 'dispute_reinstated' end
      and e.source_type = 'provider_transaction' and e.source_id = t.provider || '/' || t.account || '/' || t.ref)
  and not exists (
    select from deliveries d
    where d.merchant_id = t.merchant_id and d.payment_id = t.payment_id and d.handler = 'post_dispute' and d.status <> 'done')
limit %(limit)s;

-- name: payouts_are_their_lines
-- Itemised payouts of the provider that are not the sum of their lines; the payout's own line is not one of them.
select o.merchant_id, null::uuid as payment_id,
       format('%%s of %%s %%s is made of lines that come to %%s', o.ref, o.amount, o.currency, s.net) as detail
from payouts o
cross join lateral (
  select coalesce(sum(t.net), 0) as net from provider_transactions t
  where t.payout_ref = o.ref and t.provider = o.provider and t.account = o.account and t.currency = o.currency and t.kind <> 'payout'
) s
where o.lines_read_at is not null and s.net <> o.amount and %(payment_id)s::uuid is null
limit %(limit)s;

-- name: merchant_payouts_are_in_flight
-- Merchants whose money between us and their bank is not that of payouts which were requested and have not ended.
select coalesce(b.merchant_id, o.merchant_id) as merchant_id, null::uuid as payment_id,
       format('%%s %%s in flight, payouts under way come to %%s', coalesce(b.amount, 0), coalesce(b.currency, o.currency), coalesce(o.amount, 0)) as detail
from (
  select l.merchant_id, l.currency, -sum(l.amount) as amount
  from ledger_accounts a join ledger_lines l on l.account_merchant_id = a.merchant_id and l.account_id = a.id
  where a.code = 'merchant_payouts_in_flight' group by l.merchant_id, l.currency
) b
full join (
  select merchant_id, currency, sum(amount) as amount from merchant_payouts where status = 'requested' group by merchant_id, currency
) o on o.merchant_id = b.merchant_id and o.currency = b.currency
where coalesce(b.amount, 0) <> coalesce(o.amount, 0) and %(payment_id)s::uuid is null
limit %(limit)s;
