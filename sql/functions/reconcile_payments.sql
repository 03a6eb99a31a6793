-- The rules: one CTE each. A rule names the moment from which what it found is a discrepancy; a moment ahead is when to look again.
create or replace function reconcile_payments(p_merchant_ids uuid[], p_payment_ids uuid[], p_scale float8 default 1)
  returns table (merchant_id uuid, payment_id uuid, type text, ref text, currency text, expected bigint, actual bigint,
    evidence_at timestamptz)
  language sql stable
  set search_path = postbox, pg_temp
as $$
with wanted as (
  select p.*, 'clearing:' || p.provider as clearing_code
  from unnest(p_merchant_ids, p_payment_ids) w (merchant_id, id)
  join payments p on p.merchant_id = w.merchant_id and p.id = w.id
),
-- the provider's book: its money lines about the payment
lines as (
  select w.merchant_id, w.id, t.*
  from wanted w
  cross join lateral (
    select count(distinct coalesce(x.source_ref, x.ref)) filter (where x.kind in ('charge', 'payment')) as charges,
           coalesce(sum(x.gross) filter (where x.kind in ('charge', 'payment', 'partial_capture_reversal') and x.currency = w.currency), 0)::bigint as charged,
           coalesce(-sum(x.gross) filter (where x.kind in ('refund', 'refund_failure') and x.currency = w.currency), 0)::bigint as refunded,
           coalesce(-sum(x.gross) filter (where x.kind in ('dispute', 'dispute_reversal') and x.currency = w.currency), 0)::bigint as disputed,
           coalesce(sum(x.fee) filter (where x.kind in ('charge', 'payment') and x.currency = w.currency), 0)::bigint as fee,
           max(x.currency) filter (where x.kind in ('charge', 'payment') and x.currency <> w.currency and not x.exchanged) as foreign_currency,
           bool_or(x.exchanged) as exchanged,
           max(x.available_on) filter (where x.kind in ('charge', 'payment')) as available_on,
           max(x.recorded_at) filter (where x.kind in ('charge', 'payment')) as charged_at,
           max(x.recorded_at) filter (where x.kind in ('refund', 'refund_failure')) as refunded_at,
           max(x.recorded_at) filter (where x.kind in ('dispute', 'dispute_reversal')) as disputed_at
    from provider_transactions x
    where x.merchant_id = w.merchant_id and x.payment_id = w.id
  ) t
),
-- the third book: what the ledger still holds between the other two
clearing as (
  select w.merchant_id, w.id, held.amount, (
    select max(e.recorded_at) from ledger_entries e
    where held.amount <> 0 and e.merchant_id = w.merchant_id and e.payment_id = w.id) as moved_at
  from wanted w
  join ledger_accounts a on a.merchant_id = '00000000-0000-0000-0000-000000000000' and a.code = w.clearing_code
  cross join lateral (
    select coalesce(sum(l.amount), 0)::bigint as amount from ledger_lines l
    where l.account_id = a.id and l.currency = w.currency and l.payment_id = w.id
  ) held
),
-- when a payment entered the state it is in: its last event
entered as (
  select w.merchant_id, w.id, (
    select max(e.occurred_at) from events e
    where e.merchant_id = w.merchant_id and e.payment_id = w.id and e.payment_version is not null
      and e.topic <> 'payment.observation_due') as at
  from wanted w
),
-- open here, though the provider has already taken the money; a bank's line may come days before its payment succeeds
behind as (
  select w.merchant_id, w.id, l.charged, coalesce(l.charged_at, e.at) as at
  from wanted w
  join lines l on l.merchant_id = w.merchant_id and l.id = w.id
  join entered e on e.merchant_id = w.merchant_id and e.id = w.id
  where w.state in ('initiated', 'submitting', 'outcome_unknown', 'submitted', 'requires_action', 'authorized')
    and (w.provider_rank >= 50 or (l.charges > 0 and w.method = 'card'))
),
state_mismatch as (
  select b.merchant_id, b.id, 'state_mismatch' as type, w.state as ref, w.currency, b.charged as expected, w.amount_captured as actual, b.at
  from behind b join wanted w on w.merchant_id = b.merchant_id and w.id = b.id
),
-- silence: the deadline of the state has passed without a word
silence as (
  select w.merchant_id, w.id, d.type, case when d.counted_from in ('confirmed_at', 'available_on') then '' else d.state end as ref,
         case when d.type in ('missing_at_provider', 'settlement_missing') then w.currency end as currency,
         case when d.type in ('missing_at_provider', 'settlement_missing') then w.amount_captured end as expected,
         case when d.type in ('missing_at_provider', 'settlement_missing') then 0 end::bigint as actual,
         case d.counted_from when 'entered' then e.at
                             when 'action_expires_at' then coalesce(w.action_expires_at, e.at)
                             when 'capture_before' then coalesce(w.capture_before, e.at + interval '7 days' * p_scale)
                             when 'confirmed_at' then w.confirmed_at
                             else l.available_on end + d.silent_for * p_scale as at
  from wanted w
  join state_deadlines d on d.state = w.state and d.method = w.method
  join lines l on l.merchant_id = w.merchant_id and l.id = w.id
  join entered e on e.merchant_id = w.merchant_id and e.id = w.id
  where case d.type
    when 'missing_at_provider' then w.confirmed_at is not null and l.charges = 0
    when 'settlement_missing' then w.settled_at is null and w.confirmed_at is not null and l.charges > 0
    -- who is behind is told so instead
    else not exists (select from behind b where b.merchant_id = w.merchant_id and b.id = w.id) end
),
amount_mismatch as (
  select w.merchant_id, w.id, 'amount_mismatch', '', w.currency, w.amount_captured, l.charged, l.charged_at
  from wanted w join lines l on l.merchant_id = w.merchant_id and l.id = w.id
  where w.confirmed_at is not null and l.charges = 1 and l.foreign_currency is null and not l.exchanged
    and l.charged <> w.amount_captured
),
currency_mismatch as (
  select w.merchant_id, w.id, 'currency_mismatch', l.foreign_currency, w.currency, w.amount_captured, null::bigint, l.charged_at
  from wanted w join lines l on l.merchant_id = w.merchant_id and l.id = w.id
  where l.foreign_currency is not null
),
-- two charges for one payment, or two payments that look like one; what was given back since is no longer too much
duplicate_charge as (
  select w.merchant_id, w.id, 'duplicate_charge', '', w.currency, w.amount_captured, l.charged - l.refunded, l.charged_at
  from wanted w join lines l on l.merchant_id = w.merchant_id and l.id = w.id
  where w.confirmed_at is not null and l.charges > 1 and l.charged - l.refunded > w.amount_captured - w.amount_refunded
  union all
  select w.merchant_id, w.id, 'duplicate_charge', twin.id::text, w.currency, twin.amount_captured, w.amount_captured + twin.amount_captured,
         greatest(w.confirmed_at, twin.confirmed_at)
  from wanted w
  cross join lateral (
    select q.id, q.amount_captured, q.confirmed_at from payments q
    where q.merchant_id = w.merchant_id and q.reference = w.reference and q.amount = w.amount and q.currency = w.currency
      and q.confirmed_at is not null and q.amount_refunded = 0 and (q.created_at, q.id) < (w.created_at, w.id)
      and q.created_at > w.created_at - interval '10 minutes' * p_scale
    order by q.created_at limit 1
  ) twin
  where w.reference is not null and w.confirmed_at is not null and w.amount_refunded = 0
),
-- nobody is owed this money: it waits to be adopted, refunded or voided
money_after_final as (
  select w.merchant_id, w.id, 'money_after_final', '', w.currency, 0::bigint,
         case when l.charges > 0 then l.charged - l.refunded - l.disputed else coalesce(nullif(w.amount_captured, 0), w.amount_authorized, w.amount) end,
         coalesce(w.money_after_final_at, l.charged_at, w.updated_at)
  from wanted w join lines l on l.merchant_id = w.merchant_id and l.id = w.id
  where w.state in ('failed', 'canceled') and (w.money_after_final_at is not null or w.amount_captured > 0 or l.charges > 0)
    and case when l.charges > 0 then l.charged - l.refunded - l.disputed <> 0
             else not exists (
               select from operations o
               where o.merchant_id = w.merchant_id and o.payment_id = w.id and o.kind in ('cancel', 'close')
                 and o.status = 'succeeded' and o.finished_at > w.money_after_final_at and w.amount_captured = 0) end
),
fee_mismatch as (
  select w.merchant_id, w.id, 'fee_mismatch', '', w.currency, due.fee, l.fee, l.charged_at
  from wanted w
  join lines l on l.merchant_id = w.merchant_id and l.id = w.id
  join provider_prices x on x.provider = w.provider and x.account = w.provider_account and x.method = w.method and x.currency = w.currency
  cross join lateral (select compute_fee(l.charged, x.bps, x.fixed) as fee) due
  -- a minor unit either way is rounding
  where l.charges = 1 and l.foreign_currency is null and not l.exchanged and abs(l.fee - due.fee) > 1
),
-- a refund under way may have its line already or not yet
refund_mismatch as (
  select w.merchant_id, w.id, 'refund_mismatch', '', w.currency, w.amount_refunded, l.refunded, greatest(l.refunded_at, e.at)
  from wanted w
  join lines l on l.merchant_id = w.merchant_id and l.id = w.id
  join entered e on e.merchant_id = w.merchant_id and e.id = w.id
  where w.confirmed_at is not null and l.charges > 0 and not l.exchanged
    and l.refunded not between w.amount_refunded and w.amount_refunded + w.amount_refund_pending
),
dispute_mismatch as (
  select w.merchant_id, w.id, 'dispute_mismatch', '', w.currency, w.amount_disputed + w.amount_lost, l.disputed, greatest(l.disputed_at, e.at)
  from wanted w
  join lines l on l.merchant_id = w.merchant_id and l.id = w.id
  join entered e on e.merchant_id = w.merchant_id and e.id = w.id
  where w.confirmed_at is not null and l.charges > 0 and not l.exchanged
    and l.disputed <> w.amount_disputed + w.amount_lost
),
-- a change that asking found long after a webhook should have told it, until it is applied
webhook_missing as (
  select w.merchant_id, w.id, 'webhook_missing', k.provider_event_id, null::text, null::bigint, null::bigint, k.created_at_provider
  from wanted w
  join webhooks k on k.payment_ref = w.provider_ref and k.provider = w.provider and k.account = w.provider_account
  join discrepancy_types t on t.type = 'webhook_missing'
  where k.received_by = 'poll' and k.received_at - k.created_at_provider > t.grace * p_scale
    and exists (
      select from events e join deliveries d on d.merchant_id = e.merchant_id and d.event_id = e.id
      where e.merchant_id = k.merchant_id and e.webhook_id = k.id and d.status <> 'done')
),
explained as (
  select * from state_mismatch union all select * from silence union all select * from amount_mismatch
  union all select * from currency_mismatch union all select * from duplicate_charge union all select * from money_after_final
  union all select * from fee_mismatch union all select * from refund_mismatch union all select * from dispute_mismatch
  union all select * from webhook_missing
),
-- what the two books leave between them and no rule above explains
clearing_nonzero as (
  select w.merchant_id, w.id, 'clearing_nonzero', '', w.currency, 0::bigint, c.amount, c.moved_at
  from wanted w join clearing c on c.merchant_id = w.merchant_id and c.id = w.id
  where c.amount <> 0 and not exists (
    select from explained x
    where x.merchant_id = w.merchant_id and x.id = w.id and x.type not in ('stale_state', 'settlement_missing', 'fee_mismatch', 'webhook_missing'))
)
select f.merchant_id, f.id, f.type, f.ref, f.currency, f.expected, f.actual, f.at + t.grace * p_scale
from (select * from explained union all select * from clearing_nonzero) f
join discrepancy_types t on t.type = f.type
$$;
comment on function reconcile_payments is
  'Compares three books per payment: ours, the provider''s money lines, the ledger. One row per disagreement, now or at the moment'
  ' when silence will have lasted too long. p_scale multiplies every wait, as POSTBOX_TIME_SCALE does.';
