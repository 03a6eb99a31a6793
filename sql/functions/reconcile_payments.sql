-- The rules: one CTE each, over a row per payment that holds what all three books say about it. A rule names the moment from
-- which what it found is a discrepancy; a moment ahead is when to look again.

create or replace function entered_state_at(p_merchant_id uuid, p_payment_id uuid) returns timestamptz
  language sql stable
  set search_path = postbox, pg_temp
as $$
  select max(e.occurred_at) from events e
  where e.merchant_id = p_merchant_id and e.payment_id = p_payment_id and e.payment_version is not null
    and e.topic <> 'payment.observation_due'
$$;
comment on function entered_state_at is 'When a payment came to be as it is: its last event.';

create or replace function reconcile_payments(p_merchant_ids uuid[], p_payment_ids uuid[], p_scale float8 default 1)
  returns table (merchant_id uuid, payment_id uuid, type text, ref text, currency text, expected bigint, actual bigint,
    evidence_at timestamptz)
  language sql stable
  set search_path = postbox, pg_temp
  -- planned once in a session: each time takes longer than to compare. Whatever was known of the tables then, each row is
  -- found by what names it: where another index could seem as good, in the order of the one that is meant
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set enable_bitmapscan = off
as $$
with books as materialized (
  select p.*, line.*, held.clearing,
         -- open here, though the provider took the money; a bank's line may come days before its payment succeeds
         p.state in ('initiated', 'submitting', 'outcome_unknown', 'submitted', 'requires_action', 'authorized')
           and (p.provider_rank >= 50 or (line.charges > 0 and p.method = 'card')) as is_behind
  from unnest(p_merchant_ids, p_payment_ids) w (merchant_id, id)
  cross join lateral (
    select * from payments q where q.merchant_id = w.merchant_id and q.id between w.id and w.id order by q.id limit 1
  ) p
  -- the provider's book: its money lines about the payment
  cross join lateral (
    select count(distinct coalesce(x.source_ref, x.ref)) filter (where x.kind in ('charge', 'payment')) as charges,
           coalesce(sum(x.gross) filter (where x.kind in ('charge', 'payment', 'partial_capture_reversal') and x.currency = p.currency), 0)::bigint as charged,
           coalesce(-sum(x.gross) filter (where x.kind in ('refund', 'refund_failure') and x.currency = p.currency), 0)::bigint as refunded,
           coalesce(-sum(x.gross) filter (where x.kind in ('dispute', 'dispute_reversal') and x.currency = p.currency), 0)::bigint as withdrawn,
           -- less what was given back of it since, as a line of its own
           (coalesce(sum(x.fee) filter (where x.kind in ('charge', 'payment') and x.currency = p.currency), 0)
             - coalesce(sum(x.gross) filter (where x.kind = 'fee' and x.currency = p.currency), 0))::bigint as charge_fee,
           max(x.currency) filter (where x.kind in ('charge', 'payment') and x.currency <> p.currency and not x.exchanged) as foreign_currency,
           coalesce(bool_or(x.exchanged), false) as exchanged,
           max(x.available_on) filter (where x.kind in ('charge', 'payment')) as available_on,
           max(x.recorded_at) filter (where x.kind in ('charge', 'payment')) as charged_at,
           max(x.recorded_at) filter (where x.kind in ('refund', 'refund_failure')) as refunded_at,
           max(x.recorded_at) filter (where x.kind in ('dispute', 'dispute_reversal')) as withdrawn_at
    from provider_transactions x
    where x.merchant_id = p.merchant_id and x.payment_id = p.id
  ) line
  -- the third book: what the ledger still holds between the other two
  cross join lateral (
    select coalesce(sum(l.amount), 0)::bigint as clearing from ledger_lines l
    where l.account_id = (
      select a.id from ledger_accounts a
      where a.merchant_id = '00000000-0000-0000-0000-000000000000' and a.code = 'clearing:' || p.provider)
      and l.currency = p.currency and l.payment_id = p.id
  ) held
),
state_mismatch as (
  select b.merchant_id, b.id, 'state_mismatch' as type, b.state as ref, b.currency, b.charged as expected, b.amount_captured as actual,
         coalesce(b.charged_at, entered_state_at(b.merchant_id, b.id)) as at
  from books b where b.is_behind
),
-- silence: the deadline of the state has passed without a word
silence as (
  select b.merchant_id, b.id, d.type, case when money.is_missing then '' else d.state end,
         case when money.is_missing then b.currency end, case when money.is_missing then b.amount_captured end,
         case when money.is_missing then 0 end::bigint,
         case d.counted_from when 'entered' then entered_state_at(b.merchant_id, b.id)
                             when 'action_expires_at' then coalesce(b.action_expires_at, entered_state_at(b.merchant_id, b.id))
                             when 'capture_before'
                               then coalesce(b.capture_before, entered_state_at(b.merchant_id, b.id) + interval '7 days' * p_scale)
                             when 'confirmed_at' then b.confirmed_at
                             else b.available_on end + d.silent_for * p_scale
  from books b
  join state_deadlines d on d.state = b.state and d.method = b.method
  cross join lateral (select d.type in ('missing_at_provider', 'settlement_missing') as is_missing) money
  where case d.type
    when 'missing_at_provider' then b.confirmed_at is not null and b.charges = 0
    when 'settlement_missing' then b.settled_at is null and b.confirmed_at is not null and b.charges > 0
    -- who is behind is told so instead
    else not b.is_behind end
),
-- the same for its refunds: since when nothing was heard of one that is not over
refund_silence as (
  select b.merchant_id, b.id, d.type, 'refund/' || r.id, b.currency, r.amount, null::bigint, r.updated_at + d.silent_for * p_scale
  from books b
  cross join lateral (
    select * from refunds q where q.merchant_id = b.merchant_id and q.payment_id between b.id and b.id order by q.payment_id offset 0
  ) r
  join refund_deadlines d on d.state = r.state and d.method = b.method
),
amount_mismatch as (
  select b.merchant_id, b.id, 'amount_mismatch', '', b.currency, b.amount_captured, b.charged, b.charged_at
  from books b
  where b.confirmed_at is not null and b.charges = 1 and b.foreign_currency is null and not b.exchanged and b.charged <> b.amount_captured
),
currency_mismatch as (
  select b.merchant_id, b.id, 'currency_mismatch', b.foreign_currency, b.currency, b.amount_captured, null::bigint, b.charged_at
  from books b where b.foreign_currency is not null
),
-- two charges for one payment, or two payments that look like one; what was given back since is no longer too much
duplicate_charge as (
  select b.merchant_id, b.id, 'duplicate_charge', '', b.currency, b.amount_captured, b.charged - b.refunded, b.charged_at
  from books b
  where b.confirmed_at is not null and b.charges > 1 and b.charged - b.refunded > b.amount_captured - b.amount_refunded
  union all
  select b.merchant_id, b.id, 'duplicate_charge', twin.id::text, b.currency, twin.amount_captured, b.amount_captured + twin.amount_captured,
         greatest(b.confirmed_at, twin.confirmed_at)
  from books b
  cross join lateral (
    -- compared as rows, so that one index alone is of use and is entered where they begin: of as many as there may be of a
    -- reference, the first that fits is the last one read
    select q.id, q.amount_captured, q.confirmed_at from payments q
    where q.reference is not null
      and (q.reference, q.merchant_id, q.amount, q.created_at)
        > (b.reference, b.merchant_id, b.amount, b.created_at - interval '10 minutes' * p_scale)
      and (q.reference, q.merchant_id, q.amount, q.created_at, q.id) < (b.reference, b.merchant_id, b.amount, b.created_at, b.id)
      and q.currency = b.currency and q.confirmed_at is not null and q.amount_refunded = 0
    order by q.reference, q.merchant_id, q.amount, q.created_at limit 1
  ) twin
  where b.reference is not null and b.confirmed_at is not null and b.amount_refunded = 0
),
-- nobody is owed this money: it waits to be adopted, refunded or voided
money_after_final as (
  select b.merchant_id, b.id, 'money_after_final', '', b.currency, 0::bigint,
         case when b.charges > 0 then b.charged - b.refunded - b.withdrawn
              else coalesce(nullif(b.amount_captured, 0), b.amount_authorized, b.amount) end,
         coalesce(b.money_after_final_at, b.charged_at, b.updated_at)
  from books b
  where b.state in ('failed', 'canceled') and (b.money_after_final_at is not null or b.amount_captured > 0 or b.charges > 0)
    and case when b.charges > 0 then b.charged - b.refunded - b.withdrawn <> 0
             else not exists (
               select from operations o
               where o.merchant_id = b.merchant_id and o.payment_id = b.id and o.kind in ('cancel', 'close')
                 and o.status = 'succeeded' and o.finished_at > b.money_after_final_at and b.amount_captured = 0) end
),
fee_mismatch as (
  select b.merchant_id, b.id, 'fee_mismatch', '', b.currency, due.fee, b.charge_fee, b.charged_at
  from books b
  join provider_prices x on x.provider = b.provider and x.account = b.provider_account and x.method = b.method and x.currency = b.currency
  cross join lateral (select compute_fee(b.charged, x.bps, x.fixed) as fee) due
  -- a minor unit either way is rounding
  where b.charges = 1 and b.foreign_currency is null and not b.exchanged and abs(b.charge_fee - due.fee) > 1
),
-- a refund under way may have its line already or not yet
refund_mismatch as (
  select b.merchant_id, b.id, 'refund_mismatch', '', b.currency, b.amount_refunded, b.refunded,
         greatest(b.refunded_at, entered_state_at(b.merchant_id, b.id))
  from books b
  where b.confirmed_at is not null and b.charges > 0 and not b.exchanged
    and b.refunded not between b.amount_refunded and b.amount_refunded + b.amount_refund_pending
),
dispute_mismatch as (
  select b.merchant_id, b.id, 'dispute_mismatch', '', b.currency, b.amount_disputed + b.amount_lost, b.withdrawn,
         greatest(b.withdrawn_at, entered_state_at(b.merchant_id, b.id))
  from books b
  where b.confirmed_at is not null and b.charges > 0 and not b.exchanged and b.withdrawn <> b.amount_disputed + b.amount_lost
),
-- a change that asking found, and that no webhook has told since
webhook_missing as (
  select b.merchant_id, b.id, 'webhook_missing', a.provider_event_id, null::text, null::bigint, null::bigint, a.happened_at
  from books b
  cross join lateral (
    select * from awaited_webhooks q where q.payment_ref = b.provider_ref and q.over_at is null offset 0
  ) a
  where a.provider = b.provider and a.account = b.provider_account
),
explained as materialized (
  select * from state_mismatch union all select * from silence union all select * from refund_silence union all select * from amount_mismatch
  union all select * from currency_mismatch union all select * from duplicate_charge union all select * from money_after_final
  union all select * from fee_mismatch union all select * from refund_mismatch union all select * from dispute_mismatch
  union all select * from webhook_missing
),
-- what the two books leave between them and no rule above explains
clearing_nonzero as (
  select b.merchant_id, b.id, 'clearing_nonzero', '', b.currency, 0::bigint, b.clearing, (
    select max(e.recorded_at) from ledger_entries e where e.merchant_id = b.merchant_id and e.payment_id = b.id)
  from books b
  where b.clearing <> 0 and not exists (
    select from explained x
    where x.merchant_id = b.merchant_id and x.id = b.id
      and x.type not in ('stale_state', 'settlement_missing', 'fee_mismatch', 'webhook_missing'))
)
select f.merchant_id, f.id, f.type, f.ref, f.currency, f.expected, f.actual, f.at + t.grace * p_scale
from (select * from explained union all select * from clearing_nonzero) f
join discrepancy_types t on t.type = f.type
$$;
comment on function reconcile_payments is
  'Compares three books per payment: ours, the provider''s money lines, the ledger. One row per disagreement, now or at the moment'
  ' when silence will have lasted too long. p_scale multiplies every wait, as POSTBOX_TIME_SCALE does.';
