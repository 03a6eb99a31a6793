-- name: lock
-- One payment under the only mutex of its life.
select *,
       extract(epoch from clock_timestamp() - submitted_at)::float8 as submitted_for,
       extract(epoch from clock_timestamp() - confirmed_at)::float8 as confirmed_for,
       coalesce(observe_at <= clock_timestamp(), false) as observe_due
from payments where merchant_id = %(merchant_id)s and id = %(payment_id)s for no key update;

-- name: seen_since
-- Whether an observation that began after this moment was applied, or is under way in a process that lives. Ask under the
-- payment's lock: of several who ask at once, one finds none.
select coalesce(p.looked_at >= %(moment)s, false) as seen,
       exists (
         select from provider_calls c
         where c.merchant_id = p.merchant_id and c.payment_id = p.id and c.step = 'fetch' and c.operation_id is null
           and c.finished_at is null and c.sent_at >= %(moment)s
           and c.sent_at > clock_timestamp() - make_interval(secs => %(lease)s)) as being_seen
from payments p where p.merchant_id = %(merchant_id)s and p.id = %(payment_id)s;

-- name: observed_version
-- What a fetch carries: applying its snapshot requires this unchanged; when it began; whether there are children to ask about.
select observed_version, provider_ref, state, clock_timestamp() as asked_at,
       exists (select from refunds r where r.merchant_id = payments.merchant_id and r.payment_id = payments.id)
         or exists (select from disputes d where d.merchant_id = payments.merchant_id and d.payment_id = payments.id) as has_children
from payments where merchant_id = %(merchant_id)s and id = %(payment_id)s;

-- name: waits_for_its_line
-- Whether a payment waits for nothing but the money line of its own charge, which may be there and pending: no other line, such
-- as a refund leaves that we never heard of and that failed since, and no discrepancy that asks.
select p.state = 'confirmed'
         and not exists (
           select from provider_transactions t
           where t.merchant_id = p.merchant_id and t.payment_id = p.id
             and not (t.kind in ('charge', 'payment') and t.status = 'pending'))
         and (select count(*) from provider_transactions t where t.merchant_id = p.merchant_id and t.payment_id = p.id) <= 1
         and not exists (
           select from discrepancies d
           where d.merchant_id = p.merchant_id and d.subject = 'payment/' || p.id and d.closed_at is null) as waits
from payments p where p.merchant_id = %(merchant_id)s and p.id = %(payment_id)s;

-- name: find_by_provider_ref
-- The payment behind a provider's object, whoever's it is.
select merchant_id, id from payments
where provider = %(provider)s and provider_account = %(account)s and provider_ref = %(provider_ref)s;

-- name: find_by_id
-- The payment our own metadata names, with the provider reference it is known under.
select merchant_id, id, provider_ref, state from payments where merchant_id = %(merchant_id)s and id = %(payment_id)s;

-- name: take_step
-- One legal step of a walk: the state to enter, or none, and the facts that come with it.
update payments set
  state = coalesce(%(state)s, state),
  provider_ref = coalesce(provider_ref, %(provider_ref)s),
  latest_charge_ref = coalesce(%(latest_charge_ref)s, latest_charge_ref),
  amount_authorized = coalesce(amount_authorized, %(amount_authorized)s),
  amount_captured = coalesce(%(amount_captured)s, amount_captured),
  capture_before = coalesce(%(capture_before)s, capture_before),
  next_action_type = coalesce(%(next_action_type)s, next_action_type),
  next_action_url = coalesce(%(next_action_url)s, next_action_url),
  action_expires_at = case when %(state)s::text = 'requires_action'
    then clock_timestamp() + make_interval(secs => %(action_window)s) else action_expires_at end,
  failure_code = coalesce(%(failure_code)s, failure_code),
  failure_message = coalesce(%(failure_message)s, failure_message),
  failure_retryable = coalesce(%(failure_retryable)s, failure_retryable),
  cancel_reason = coalesce(%(cancel_reason)s, cancel_reason),
  money_after_final_at = case when %(money_after_final)s
    then coalesce(money_after_final_at, clock_timestamp()) else money_after_final_at end
where merchant_id = %(merchant_id)s and id = %(payment_id)s;

-- name: close_observation
-- The end of one applied snapshot: rank, version, settlement when its money is available, and when to observe it again.
update payments set
  state = case when %(settles)s and state = 'confirmed' then 'settled' else state end,
  settled_at = case when %(settles)s then coalesce(settled_at, clock_timestamp()) else settled_at end,
  provider_ref = coalesce(provider_ref, %(provider_ref)s),
  latest_charge_ref = coalesce(%(latest_charge_ref)s, latest_charge_ref),
  method_last4 = coalesce(method_last4, %(method_last4)s),
  provider_rank = greatest(provider_rank, %(rank)s),
  observed_version = observed_version + 1,
  looked_at = greatest(looked_at, %(asked_at)s),
  observe_at = case %(observe)s
    when 'never' then null
    when 'keep' then observe_at
    when 'before' then greatest(coalesce(capture_before, clock_timestamp() + make_interval(secs => %(wait)s)),
                                case when observe_at <= clock_timestamp() then clock_timestamp() + make_interval(secs => %(wait)s) end)
    else clock_timestamp() + make_interval(secs => %(wait)s) end
where merchant_id = %(merchant_id)s and id = %(payment_id)s;

-- name: follow_facts
-- What the children of a confirmed payment add up to, and the state that these facts say; no row when nothing changed.
update payments p set
  amount_refund_pending = f.refund_pending, amount_refunded = f.refunded, amount_disputed = f.disputed, amount_lost = f.lost,
  settled_at = n.settled_at,
  state = n.state
from facts_of_children(%(merchant_id)s, %(payment_id)s) f
cross join lateral (
  select case when %(settles)s then coalesce(q.settled_at, clock_timestamp()) else q.settled_at end as settled_at
  from payments q where q.merchant_id = %(merchant_id)s and q.id = %(payment_id)s
) s
cross join lateral (
  select s.settled_at,
         case when q.confirmed_at is null or q.state in ('failed', 'canceled') then q.state
              else state_of_facts(q.method, q.amount_captured, f.refunded, f.disputed, f.lost, s.settled_at, q.method = 'ach' and q.state = 'returned')
         end as state
  from payments q where q.merchant_id = %(merchant_id)s and q.id = %(payment_id)s
) n
where p.merchant_id = %(merchant_id)s and p.id = %(payment_id)s
  and (p.amount_refund_pending, p.amount_refunded, p.amount_disputed, p.amount_lost, p.settled_at, p.state)
      is distinct from (f.refund_pending, f.refunded, f.disputed, f.lost, n.settled_at, n.state)
returning p.state, p.settled_at;

-- name: reserve_refund
-- Set aside what a request takes; no row when it is more than what is left.
update payments set amount_refund_pending = amount_refund_pending + %(amount)s
where merchant_id = %(merchant_id)s and id = %(payment_id)s
  and amount_captured - amount_refunded - amount_refund_pending >= %(amount)s
returning *;

-- name: move
-- A step that no snapshot explains: a claim, an unknown outcome, a refusal.
update payments set
  state = %(state)s,
  failure_code = coalesce(%(failure_code)s, failure_code),
  failure_message = coalesce(%(failure_message)s, failure_message)
where merchant_id = %(merchant_id)s and id = %(payment_id)s;

-- name: set_provider_ref
-- The provider's object of this payment, committed before money can move.
update payments set provider_ref = %(provider_ref)s, provider_rank = greatest(provider_rank, 10)
where merchant_id = %(merchant_id)s and id = %(payment_id)s and provider_ref is null;

-- name: set_observation
-- When the clock has it observed again, if nobody else set it.
select watch_outcome(array[%(merchant_id)s::uuid], array[%(payment_id)s::uuid], %(card)s, %(bank)s);

-- name: first_observation
-- When the first observation is due, from this date on or from the very first; now, if none is due before.
select least(
  (select p.observe_at from payments p
   where p.observe_at >= coalesce(%(since)s::timestamptz, '-infinity') order by p.observe_at limit 1),
  statement_timestamp()) as due_at;

-- name: due_observations
-- One page of the walk over payments the clock says to observe, and an event for each that nobody is observing yet.
with page as (
  select p.merchant_id, p.id, p.observe_at, p.provider_ref from payments p
  where p.observe_at <= statement_timestamp()
    and (p.observe_at, p.merchant_id, p.id) > (%(observe_at)s, %(merchant_id)s, %(payment_id)s)
  order by p.observe_at, p.merchant_id, p.id limit %(limit)s
),
emitted as (
  select p.id, emit_observation_due(p.merchant_id, p.id) from page p
  where p.provider_ref is not null
    and (select count(*) from deliveries d
         where d.merchant_id = p.merchant_id and d.payment_id = p.id and d.handler = 'observe_payment'
           and (d.status = 'pending' or d.status = 'dead' and d.resolution is null)) = 0
)
select (select count(*) from page) as seen, (select count(*) from emitted) as emitted,
       last.observe_at, last.merchant_id, last.id as payment_id
from (select 1) one
left join lateral (select * from page order by observe_at desc, merchant_id desc, id desc limit 1) last on true;

-- name: expired_actions
-- Payers who never came back: their payments are to be canceled.
select p.merchant_id, p.id as payment_id
from payments p
where p.state = 'requires_action' and p.action_expires_at <= statement_timestamp()
  and not exists (
    select from operations o
    where o.merchant_id = p.merchant_id and o.payment_id = p.id
      and (o.kind in ('submit', 'capture', 'cancel') and o.status in ('pending', 'in_flight', 'unknown')
           or o.kind = 'cancel' and o.reason = 'action_expired'
              and o.created_at > clock_timestamp() - make_interval(secs => %(again)s)))
order by p.action_expires_at
limit %(limit)s;

-- name: create
-- A new payment if the provider takes this amount; always one row, which tells the limits where they are known.
with taken as (
  select minimum, maximum, multiple from provider_currencies
  where provider = %(provider)s and currency = %(currency)s
), created as (
  insert into payments (merchant_id, currency, amount, provider, provider_account, method, method_token, capture_method,
    return_url, livemode, reference, description, statement_descriptor, metadata)
  select %(merchant_id)s, %(currency)s, %(amount)s, %(provider)s, %(account)s, %(method)s, %(method_token)s,
    %(capture_method)s, %(return_url)s, %(livemode)s, %(reference)s, %(description)s, %(statement_descriptor)s, %(metadata)s
  from taken
  where %(amount)s between minimum and maximum and %(amount)s %% multiple = 0
  returning *
)
select taken.minimum, taken.maximum, taken.multiple, created.*
from (values (true)) as request (was_made)
left join taken on true
left join created on true;

-- name: get
-- One payment as its merchant sees it, in the mode of the key that asks.
select * from payments
where merchant_id = %(merchant_id)s and id = %(payment_id)s and livemode = %(livemode)s;

-- name: page
-- A merchant's payments, newest first, after the cursor.
select * from payments
where merchant_id = %(merchant_id)s and livemode = %(livemode)s
  and (created_at, id) < (%(before)s::timestamptz, %(before_id)s::uuid)
  and created_at >= %(created_gte)s::timestamptz and created_at < %(created_lt)s::timestamptz
  and (%(state)s::text is null or state = %(state)s)
  and (%(reference)s::text is null or reference = %(reference)s)
  and (%(method)s::text is null or method = %(method)s)
  and (%(currency)s::text is null or currency = %(currency)s)
  and (%(amount)s::bigint is null or amount = %(amount)s)
order by created_at desc, id desc
limit %(limit)s;

-- name: lock_for_request
-- One payment of the caller under its lock, with what a partial capture must be a multiple of and an id to give away.
select p.*, c.multiple, uuidv7() as operation_id
from payments p
join provider_currencies c on c.provider = p.provider and c.currency = p.currency
where p.merchant_id = %(merchant_id)s and p.id = %(payment_id)s and p.livemode = %(livemode)s
for no key update of p;

-- name: cancel_initiated
-- End a payment that nobody was asked about yet.
update payments set state = 'canceled', cancel_reason = %(reason)s
where merchant_id = %(merchant_id)s and id = %(payment_id)s and case when state = 'initiated' then id end = %(payment_id)s
returning *;

-- name: timeline
-- What happened to one payment in the order it happened, without what only operators need.
select entry.* from (
  select e.occurred_at as at, 'event' as kind, e.id, e.topic as what,
         jsonb_build_object('version', e.payment_version) || jsonb_strip_nulls(jsonb_build_object(
           'refund', 're_' || replace(e.refund_id::text, '-', ''), 'dispute', 'dp_' || replace(e.dispute_id::text, '-', '')))
         || e.payload as detail
  from events e
  join topics t on t.topic = e.topic and t.merchant_visible
  where e.merchant_id = %(merchant_id)s and e.payment_id = %(payment_id)s
  union all
  select o.created_at, 'operation', o.id, o.kind || '.requested',
         jsonb_build_object('operation', 'op_' || replace(o.id::text, '-', ''), 'amount', o.amount, 'reason', o.reason)
  from operations o
  where o.merchant_id = %(merchant_id)s and o.payment_id = %(payment_id)s
  union all
  select o.finished_at, 'operation', o.id, o.kind || '.' || o.status,
         jsonb_build_object('operation', 'op_' || replace(o.id::text, '-', ''), 'outcome', o.outcome, 'code', o.outcome_code)
  from operations o
  where o.merchant_id = %(merchant_id)s and o.payment_id = %(payment_id)s and o.finished_at is not null
  union all
  select c.sent_at, 'provider_call', c.id, c.step,
         jsonb_build_object('provider', c.provider, 'outcome', c.outcome, 'http_status', c.http_status,
           'provider_request_id', c.provider_request_id, 'duration_ms', c.duration_ms)
  from provider_calls c
  where c.merchant_id = %(merchant_id)s and c.payment_id = %(payment_id)s
  union all
  select w.received_at, 'webhook', w.id, w.type,
         jsonb_build_object('provider', w.provider, 'provider_event_id', w.provider_event_id)
  from payments p
  cross join payment_webhooks(p.id) w
  where p.merchant_id = %(merchant_id)s and p.id = %(payment_id)s
) as entry
order by entry.at, entry.id
limit %(limit)s;

-- name: observe_now
-- Make an observation due now, unless one is already on its way.
select emit_observation_due(p.merchant_id, p.id)
from payments p
where p.merchant_id = %(merchant_id)s and p.id = %(payment_id)s and p.provider_ref is not null
  and not exists (
    select from deliveries d
    where d.merchant_id = p.merchant_id and d.payment_id = p.id and d.status = 'pending' and d.handler = 'observe_payment');

-- name: lock_to_adopt
-- A payment that was over, held while two people's decision is carried out.
select merchant_id, id, state, version, amount, provider_ref from payments where id = %(payment_id)s for no key update;

-- name: lock_to_refund
-- Any merchant's payment under its lock, and whether so much of it is given back by two operators and not by one.
select p.*, refund_takes_two(p.merchant_id, p.id, %(amount)s::bigint) as takes_two
from payments p where p.id = %(payment_id)s for no key update;

-- name: adopt
-- It was paid after all: two people saw the provider's evidence. The clock has it observed at once.
select merchant_id, id, state, version from adopt_payment(%(merchant_id)s, %(payment_id)s, %(amount)s);
