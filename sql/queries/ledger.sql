-- name: set_fee
-- Our fee on what was captured, by the schedule the payment was created under; computed once.
update payments p set
  fee = compute_fee(p.amount_captured, f.bps, coalesce((
    select x.amount from fee_schedule_fixed x where x.fee_schedule = p.fee_schedule and x.currency = p.currency), 0))
from fee_schedules f
where p.merchant_id = %(merchant_id)s and p.id = %(payment_id)s and f.id = p.fee_schedule and p.fee is null;

-- name: credit_merchant
-- J1: the merchant is credited what was captured, less our fee; to available when the money is already ours.
select ledger_post(p.merchant_id, 'payment_credited', 'payment', p.id::text, p.id, jsonb_build_array(
  jsonb_build_object('account', 'clearing:' || p.provider, 'currency', p.currency, 'amount', p.amount_captured),
  jsonb_build_object('account', m.account, 'currency', p.currency, 'amount', -p.amount_captured),
  jsonb_build_object('account', m.account, 'currency', p.currency, 'amount', coalesce(p.fee, 0)),
  jsonb_build_object('account', 'fee_revenue', 'currency', p.currency, 'amount', -coalesce(p.fee, 0))))
from payments p
cross join lateral (select case when p.settled_at is null then 'merchant:pending' else 'merchant:available' end as account) m
where p.merchant_id = %(merchant_id)s and p.id = %(payment_id)s;

-- name: release_funds
-- J2: what is left of the payment in pending, whatever it is, goes to available.
select ledger_post(a.merchant_id, 'funds_released', 'payment', %(payment_id)s::uuid::text, %(payment_id)s::uuid, jsonb_agg(moved.line))
from ledger_accounts a
cross join lateral (
  select currency, sum(amount)::bigint as amount from ledger_lines
  where account_id = a.id and payment_id = %(payment_id)s group by currency
) held
cross join lateral (values
  (jsonb_build_object('account', 'merchant:pending', 'currency', held.currency, 'amount', -held.amount)),
  (jsonb_build_object('account', 'merchant:available', 'currency', held.currency, 'amount', held.amount))
) moved (line)
where a.merchant_id = %(merchant_id)s and a.code = 'merchant:pending'
group by a.merchant_id;

-- name: post_fact
-- The provider's side, one rule for every line: its balance +net, its fees +fee, and -gross on the account that explains it.
with fact as (
  select e.merchant_id, e.topic, e.payment_id, f.provider, f.account || '/' || f.ref as source, f.currency, f.gross, f.fee, f.net, f.status,
         -- what the line is about, in the payment's own currency: the charge, of which there is one, a refund or a dispute
         p.currency as own_currency,
         case when f.kind in ('charge', 'payment') then coalesce(nullif(p.amount_captured, 0), p.amount)
              else sign(f.gross)::bigint * coalesce(r.amount, d.amount) end as own_gross,
         c.counter
  from events e
  cross join lateral jsonb_to_record(e.payload)
    as f (provider text, account text, ref text, kind text, currency text, gross bigint, fee bigint, net bigint, status text,
          refund_id uuid, dispute_id uuid)
  left join payments p on p.merchant_id = e.merchant_id and p.id = e.payment_id
  left join refunds r on r.merchant_id = e.merchant_id and r.id = f.refund_id
  left join disputes d on d.merchant_id = e.merchant_id and d.id = f.dispute_id
  left join ledger_counters c on c.provider = f.provider and c.fact_kind = f.kind
  where e.merchant_id = %(merchant_id)s and e.id = %(event_id)s
),
explained as (
  select *, counter is null and own_currency is distinct from currency and own_gross is not null as exchanged,
         case when counter = 'reserved' then provider || ':reserved'
              when counter is not null then counter
              -- a line in another currency that says no amount of the payment's own waits for one
              when own_currency = currency or own_gross is not null then 'clearing:' || provider
              else 'suspense:' || provider end as explanation
  from fact
),
lines as (
  -- its own side
  select place, account, currency, amount
  from explained, lateral (values
    (1, provider || ':' || status, net),
    (2, 'provider_fees', fee)
  ) own (place, account, amount)
  where topic = 'fact.recorded'
  union all
  select place, account, currency, amount
  from explained, lateral (values
    (1, provider || ':pending', -net),
    (2, provider || ':available', net)
  ) moved (place, account, amount)
  where topic = 'fact.available'
  union all
  select 1, 'suspense:' || provider, currency, gross
  from explained
  where topic = 'fact.matched' and explanation like 'clearing:%%'
  union all
  -- the other side, through fx when the payment has another currency
  select place, x.account, x.currency, x.amount
  from explained, lateral (values
    (5, case when exchanged then 'fx' else explanation end, explained.currency, -gross),
    (4, 'fx', own_currency, case when exchanged then own_gross else 0 end),
    (3, explanation, own_currency, case when exchanged then -own_gross else 0 end)
  ) x (place, account, currency, amount)
  where topic = 'fact.recorded' or (topic = 'fact.matched' and explanation like 'clearing:%%')
)
select ledger_post(f.merchant_id, replace(f.topic, '.', '_'), 'provider_transaction', f.provider || '/' || f.source, f.payment_id, (
  select jsonb_agg(jsonb_build_object('account', account, 'currency', currency, 'amount', amount) order by place) from lines))
from explained f;

-- name: close
-- Move what this transaction posted into the merchants' balances: once, at its end.
select ledger_close();

-- name: balance
-- What a merchant has, by account and currency.
select a.code, b.currency, b.amount
from ledger_balances b
join ledger_accounts a on a.merchant_id = b.merchant_id and a.id = b.account_id
where b.merchant_id = %(merchant_id)s
order by b.currency, a.code;

-- name: feed
-- The lines on a merchant's own accounts in commit-safe order, after the cursor; what might still be overtaken is not shown yet.
select l.entry_id, l.line, a.code, l.currency, l.amount, l.payment_id, l.epoch, l.recorded_xid::text as recorded_xid, e.kind, e.recorded_at
from ledger_lines l
join ledger_accounts a on a.merchant_id = l.account_merchant_id and a.id = l.account_id
join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id
where l.account_merchant_id = %(merchant_id)s and l.account_merchant_id <> '00000000-0000-0000-0000-000000000000'
  and (l.epoch, l.recorded_xid, l.entry_id, l.line) > (%(epoch)s, %(xid)s::xid8, %(entry_id)s::uuid, %(line)s)
  -- transaction ids of an earlier cluster say nothing about this one, and all of them are over
  and (l.epoch < current_epoch() or l.recorded_xid < pg_snapshot_xmin(pg_current_snapshot()))
order by l.epoch, l.recorded_xid, l.entry_id, l.line
limit %(limit)s;

-- name: trial_balance
-- Every account of the platform, the merchants' together by code, with what was debited and credited.
select case when a.code like 'merchant:%%' then regexp_replace(a.code, '^merchant:', 'merchant:*:') else a.code end as account,
       a.kind, l.currency, c.exponent, count(distinct a.id) as accounts,
       coalesce(sum(l.amount) filter (where l.amount > 0), 0)::bigint as debits,
       coalesce(-sum(l.amount) filter (where l.amount < 0), 0)::bigint as credits,
       sum(l.amount)::bigint as balance
from ledger_lines l
join ledger_accounts a on a.merchant_id = l.account_merchant_id and a.id = l.account_id
join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id
join currencies c on c.code = l.currency
where (%(merchant_id)s::uuid is null or a.merchant_id = %(merchant_id)s)
  and (%(until)s::timestamptz is null or e.recorded_at < %(until)s)
group by a.code, a.kind, l.currency, c.exponent
order by l.currency, array_position(array['asset', 'liability', 'income', 'expense'], a.kind), a.code;

-- name: control_total
-- The sum of all lines by currency: zero, or the books are broken.
select l.currency, sum(l.amount)::bigint as total
from ledger_lines l
join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id
where %(until)s::timestamptz is null or e.recorded_at < %(until)s
group by l.currency
order by l.currency;

-- name: account
-- One account by its owner and code, and what it holds by currency.
select a.merchant_id, a.id, a.code, ledger_account_name(a.merchant_id, a.code) as account, a.kind, a.opened_at,
       coalesce((select jsonb_object_agg(s.currency, s.amount) from (
         select currency, sum(amount)::bigint as amount from ledger_lines where account_id = a.id group by currency) s), '{}') as holds
from ledger_accounts a
where a.merchant_id = %(merchant_id)s and a.code = %(code)s;

-- name: account_lines
-- The newest lines of one account, perhaps of one payment only.
select e.recorded_at, e.kind, l.entry_id, l.merchant_id, l.payment_id, l.currency, c.exponent, l.amount
from ledger_lines l
join ledger_entries e on e.merchant_id = l.merchant_id and e.id = l.entry_id
join currencies c on c.code = l.currency
where l.account_id = %(account_id)s and (%(payment_id)s::uuid is null or l.payment_id = %(payment_id)s)
order by e.recorded_at desc, l.entry_id desc, l.line
limit %(limit)s;

-- name: entry
-- One entry by its id.
select merchant_id, id, kind, source_type, source_id, payment_id, reverses_entry_id, recorded_at,
       (select r.id from ledger_entries r where r.merchant_id = e.merchant_id and r.reverses_entry_id = e.id) as reversed_by
from ledger_entries e
where id = %(entry_id)s;

-- name: entry_lines
-- The lines of one entry, in order.
select l.line, ledger_account_name(a.merchant_id, a.code) as account, a.kind, l.currency, c.exponent, l.amount
from ledger_lines l
join ledger_accounts a on a.merchant_id = l.account_merchant_id and a.id = l.account_id
join currencies c on c.code = l.currency
where l.merchant_id = %(merchant_id)s and l.entry_id = %(entry_id)s
order by l.line;

-- name: reverse
-- The opposite of an entry; null when it was reversed before.
select ledger_reverse(%(merchant_id)s, %(entry_id)s, %(reason)s) as entry_id;
