-- name: upsert
-- One payout as its provider sees it now; what was seen later never goes back.
insert into payouts as o (merchant_id, provider, account, ref, status, currency, amount, created_at_provider, arrives_at, paid_at,
  destination, automatic, failure_code)
values (%(merchant_id)s, %(provider)s, %(account)s, %(ref)s, %(status)s, %(currency)s, %(amount)s, %(created_at)s, %(arrives_at)s,
  case when %(status)s = 'paid' then clock_timestamp() end, %(destination)s, %(automatic)s, %(failure_code)s)
on conflict (merchant_id, provider, account, ref) do update set
  status = excluded.status, arrives_at = excluded.arrives_at, failure_code = excluded.failure_code,
  paid_at = coalesce(o.paid_at, excluded.paid_at), updated_at = clock_timestamp()
where array_position(array['pending', 'in_transit', 'paid', 'failed'], replace(excluded.status, 'canceled', 'failed'))
    > array_position(array['pending', 'in_transit', 'paid', 'failed'], replace(o.status, 'canceled', 'failed'));

-- name: lines_read
-- Every line of an automatic payout is known.
update payouts set lines_read_at = coalesce(lines_read_at, clock_timestamp())
where merchant_id = %(merchant_id)s and provider = %(provider)s and account = %(account)s and ref = %(ref)s and automatic;

-- name: compare
-- The payout and the sum of its lines.
select opened, closed, expected, actual from reconcile_payout(%(merchant_id)s, %(provider)s, %(account)s, %(ref)s, %(scale)s, 'poll');

-- name: compare_page
-- The next payouts by key, each compared with its lines.
select o.merchant_id, o.provider, o.account, o.ref, r.opened, r.closed
from (
  select * from payouts o
  where (o.merchant_id, o.provider, o.account, o.ref) > (%(merchant_id)s::uuid, %(provider)s, %(account)s, %(ref)s)
  order by o.merchant_id, o.provider, o.account, o.ref limit %(limit)s
) o
cross join lateral reconcile_payout(o.merchant_id, o.provider, o.account, o.ref, %(scale)s, 'operator') r
order by o.merchant_id, o.provider, o.account, o.ref;

-- name: preview
-- What comparing the lines that are nobody's and the payouts would open and close; nothing is changed.
with found as (
  select f.* from lines_of_nobody(%(scale)s) f
  union all
  select f.* from payouts o
  cross join lateral jsonb_to_recordset(payout_disagreements(o, %(scale)s)) f (merchant_id uuid, subject text, type text, provider text,
    account text, ref text, currency text, expected bigint, actual bigint, evidence_at timestamptz)
),
met as (
  select d.* from lines_of_somebody() d
  union all
  select d.* from discrepancies d
  where d.type = 'payout_mismatch' and d.closed_at is null
    and not exists (select from found f where f.merchant_id = d.merchant_id and f.subject = d.subject)
),
plan as (
  select 'open' as would, f.type, f.subject, f.currency, f.expected, f.actual
  from found f
  where not exists (
    select from discrepancies d
    where d.merchant_id = f.merchant_id and d.fingerprint = f.type || ' ' || f.subject || ' ' || f.ref
      and (d.closed_at is null or d.status in ('resolved', 'written_off')
           and (d.expected, d.actual, d.currency) is not distinct from (f.expected, f.actual, f.currency)))
  union all
  select 'close', m.type, m.subject, m.currency, m.expected, m.actual from met m
)
select p.would, p.type, t.severity, null::uuid as payment_id, p.subject, p.currency, c.exponent, p.expected, p.actual
from plan p
join discrepancy_types t on t.type = p.type
left join currencies c on c.code = p.currency
order by p.would desc, p.subject;

-- name: compare_unread
-- Payouts that should have been itemised by now and are not, each recorded once; how many.
select coalesce(sum(r.opened), 0)::bigint as opened
from (
  select o.merchant_id, o.provider, o.account, o.ref
  from payouts o
  where o.lines_read_at is null and payout_disagreements(o, %(scale)s) <> '[]'
    and not exists (
      select from discrepancies d
      where d.merchant_id = o.merchant_id and d.fingerprint = 'payout_mismatch payout/' || o.provider || '/' || o.account || '/' || o.ref || ' '
        and (d.closed_at is null or d.status in ('resolved', 'written_off')))
  order by o.merchant_id, o.provider, o.account, o.ref limit %(limit)s
) o
cross join lateral reconcile_payout(o.merchant_id, o.provider, o.account, o.ref, %(scale)s, 'clock') r;

-- name: compare_balance
-- Our books and the provider's balance, by currency.
select currency, expected, actual
from reconcile_balance(%(merchant_id)s, %(provider)s, %(account)s, (%(balances)s)::jsonb -> 'told', %(final)s, 'daily')
order by currency;

-- name: compare_lines
-- The provider's lines that are about no payment of ours.
select opened, closed from reconcile_lines(%(scale)s, %(limit)s, %(detected_by)s);

-- name: post
-- A payout reached our bank, or came back after it had counted as paid; posted once each, in whatever order they are told.
select ledger_post(e.merchant_id, case p.status when 'paid' then 'payout_paid' else 'payout_returned' end, 'payout',
  p.provider || '/' || p.account || '/' || p.ref, null, jsonb_build_array(
    jsonb_build_object('account', b.code, 'currency', p.currency, 'amount', case p.status when 'paid' then p.amount else -p.amount end),
    jsonb_build_object('account', 'cash_in_transit', 'currency', p.currency, 'amount', case p.status when 'paid' then -p.amount else p.amount end)))
from events e
cross join lateral jsonb_to_record(e.payload)
  as p (provider text, account text, ref text, currency text, amount bigint, status text, was_paid boolean, destination text)
cross join lateral (select 'bank:' || coalesce(p.destination, p.account) as code) b
where e.merchant_id = %(merchant_id)s and e.id = %(event_id)s and p.was_paid;
