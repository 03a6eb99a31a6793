-- name: audit_counts_every_version
-- Payments whose audit entries are not exactly one per version, and entries of payments that do not exist.
select coalesce(p.merchant_id, a.merchant_id) as merchant_id, coalesce(p.id, a.payment_id) as payment_id,
       format('version %%s, audit entries %%s (versions %%s to %%s)', coalesce(p.version::text, 'none'), coalesce(a.entries, 0), a.lowest, a.highest) as detail
from (select * from payments where %(payment_id)s::uuid is null or id = %(payment_id)s) p
full join (
  select merchant_id, payment_id, count(*) as entries, count(distinct payment_version) as versions,
         min(payment_version) as lowest, max(payment_version) as highest
  from audit_log
  where entity_type = 'payment' and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
  group by merchant_id, payment_id
) a on a.merchant_id = p.merchant_id and a.payment_id = p.id
where (a.entries, a.versions, a.lowest, a.highest) is distinct from (p.version, p.version, 1::bigint, p.version)
limit %(limit)s;

-- name: audit_tells_the_row
-- Payments whose row is not what their audit entries, applied one after another, say it is.
select p.merchant_id, p.id as payment_id,
       format('differs in %%s', (
         select string_agg(coalesce(r.key, t.key), ', ' order by coalesce(r.key, t.key))
         from jsonb_each(to_jsonb(p)) r full join jsonb_each(told.row) t on t.key = r.key
         where r.value is distinct from t.value and (jsonb_typeof(r.value) <> 'object' or jsonb_strip_nulls(r.value) <> jsonb_strip_nulls(t.value)))) as detail
from payments p
join lateral (
  select to_jsonb(jsonb_populate_record(null::payments, jsonb_object_agg(c.key, c.value order by a.payment_version))) as row
  from audit_log a
  cross join lateral jsonb_each(a.body::jsonb -> 'after') c
  where a.merchant_id = p.merchant_id and a.payment_id = p.id and a.entity_type = 'payment'
) told on true
where (%(payment_id)s::uuid is null or p.id = %(payment_id)s)
  and jsonb_strip_nulls(told.row) is distinct from jsonb_strip_nulls(to_jsonb(p))
limit %(limit)s;

-- name: audit_hashes_hold
-- Audit entries that no longer have the hash they were written with.
select a.merchant_id, a.payment_id, format('%%s of %%s %%s, entry %%s', a.action, a.entity_type, a.entity_id, a.id) as detail
from audit_log a
where (%(payment_id)s::uuid is null or a.payment_id = %(payment_id)s)
  and a.row_sha256 is distinct from audit_row_sha256(a)
limit %(limit)s;

-- name: evidence_is_audited
-- Provider calls and webhooks without the entries their triggers write: one when opened, one when completed, one when received.
select c.merchant_id, c.payment_id, format('provider call %%s', c.id) as detail
from provider_calls c
left join (
  select merchant_id, entity_id, count(*) filter (where action = 'provider_call.opened') as opened,
         count(*) filter (where action = 'provider_call.completed') as completed
  from audit_log where entity_type = 'provider_call' group by merchant_id, entity_id
) a on a.merchant_id = c.merchant_id and a.entity_id = c.id::text
where (%(payment_id)s::uuid is null or c.payment_id = %(payment_id)s)
  and (coalesce(a.opened, 0), coalesce(a.completed, 0)) <> (1, (c.finished_at is not null)::integer)
union all
select w.merchant_id, w.payment_id, format('webhook %%s', w.provider_event_id)
from webhooks w
left join (
  select merchant_id, entity_id, count(*) as received from audit_log
  where entity_type = 'webhook' and action = 'webhook.received' group by merchant_id, entity_id
) a on a.merchant_id = w.merchant_id and a.entity_id = w.id::text
where (%(payment_id)s::uuid is null or w.payment_id = %(payment_id)s) and coalesce(a.received, 0) <> 1
limit %(limit)s;

-- name: events_tell_the_history
-- Payments whose events are not exactly those of the edges and milestones their audit entries walked, or whose spine is out of order.
with steps as (
  select a.merchant_id, a.payment_id, a.payment_version as version,
         a.body::jsonb #>> '{before,state}' as from_state, a.body::jsonb #>> '{after,state}' as to_state,
         a.body::jsonb #>> '{after,settled_at}' is not null as settles
  from audit_log a
  where a.entity_type = 'payment' and (%(payment_id)s::uuid is null or a.payment_id = %(payment_id)s)
),
walked as (
  select s.*, t.event, t.from_state is null as off_the_map,
         lag(s.to_state) over (partition by s.merchant_id, s.payment_id order by s.version) as came_from
  from steps s
  left join payment_transitions t on t.from_state = s.from_state and t.to_state = s.to_state
  where s.to_state is not null
),
expected as (
  select merchant_id, payment_id, version, coalesce(event, 'payment.initiated') as topic from walked
  where (event is not null and event <> 'payment.settled') or version = 1
  union all
  select merchant_id, payment_id, version, 'payment.settled' from steps where settles
),
told as (
  select e.merchant_id, e.payment_id, e.payment_version as version, e.topic,
         row_number() over (partition by e.merchant_id, e.payment_id order by e.payment_version, e.id) as place
  from events e
  where e.payment_version is not null and e.topic <> 'payment.observation_due'
    and (%(payment_id)s::uuid is null or e.payment_id = %(payment_id)s)
),
spine as (
  select merchant_id, payment_id,
         min(place) filter (where topic = 'payment.initiated') as initiated,
         min(place) filter (where topic = 'payment.provider_submitted') as submitted,
         min(place) filter (where topic = 'payment.confirmed') as confirmed,
         min(place) filter (where topic = 'payment.settled') as settled,
         bool_or(topic in ('payment.adopted', 'payment.return_reversed')) as confirmed_otherwise
  from told group by merchant_id, payment_id
)
select merchant_id, payment_id, format('version %%s: %%s -> %%s is no edge', version, from_state, to_state) as detail
from walked where version > 1 and off_the_map
union all
select merchant_id, payment_id, format('version %%s leaves %%s, but the payment was %%s', version, from_state, came_from)
from walked where version > 1 and came_from is distinct from from_state
union all
select coalesce(x.merchant_id, t.merchant_id), coalesce(x.payment_id, t.payment_id),
       format('version %%s: %%s %%s', coalesce(x.version, t.version), coalesce(x.topic, t.topic),
              case when t.topic is null then 'is missing' when x.topic is null then 'was never true' else 'is there more than once' end)
from expected x
full join (select merchant_id, payment_id, version, topic, count(*) as times from told group by 1, 2, 3, 4) t
  on t.merchant_id = x.merchant_id and t.payment_id = x.payment_id and t.version = x.version and t.topic = x.topic
where x.topic is null or t.topic is null or t.times <> 1
union all
select merchant_id, payment_id, 'initiated, provider_submitted, confirmed, settled are out of order'
from spine
where not confirmed_otherwise and (
  initiated is distinct from 1
  or (confirmed is not null and coalesce(submitted >= confirmed, true))
  or (settled is not null and coalesce(confirmed >= settled, true)))
limit %(limit)s;

-- name: events_are_delivered_to_subscribers
-- Events without exactly the deliveries owed to the handlers subscribed when they happened.
with owed as (
  select e.merchant_id, e.id as event_id, s.handler, e.topic, s.lane, e.payment_id
  from events e
  join subscriptions s on s.topic = e.topic and s.subscribed_at <= e.occurred_at
  where %(payment_id)s::uuid is null or e.payment_id = %(payment_id)s
)
select o.merchant_id, o.payment_id, format('event %%s (%%s) has no delivery to %%s', o.event_id, o.topic, o.handler) as detail
from owed o
where not exists (
  select from deliveries d
  where d.merchant_id = o.merchant_id and d.event_id = o.event_id and d.handler = o.handler
    and d.topic = o.topic and d.lane = o.lane and d.payment_id is not distinct from o.payment_id)
union all
select d.merchant_id, d.payment_id, format('delivery %%s:%%s of %%s was owed to nobody', d.event_id, d.handler, d.topic)
from deliveries d
where (%(payment_id)s::uuid is null or d.payment_id = %(payment_id)s)
  and not exists (select from subscriptions s where s.topic = d.topic and s.handler = d.handler)
limit %(limit)s;

-- name: one_open_operation
-- Payments with more than one open submit, capture or cancel.
select merchant_id, payment_id, format('%%s open: %%s', count(*), string_agg(kind || ' ' || id, ', ' order by created_at)) as detail
from operations
where kind in ('submit', 'capture', 'cancel') and status in ('pending', 'in_flight', 'unknown')
  and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
group by merchant_id, payment_id
having count(*) > 1
limit %(limit)s;

-- name: leases_end
-- Operations in flight past their lease and the grace; when quiesced nothing is in flight at all.
select merchant_id, payment_id, format('%%s %%s is in flight, lease until %%s', kind, id, lease_expires_at) as detail
from operations
where status = 'in_flight' and (%(quiesced)s or lease_expires_at < clock_timestamp() - make_interval(secs => %(grace)s))
  and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
limit %(limit)s;

-- name: calls_end
-- Open calls that nobody has followed up: the open row of a crash is legal once its operation was called again or has its outcome.
select c.merchant_id, c.payment_id, format('%%s %%s, call %%s sent %%s has no end', c.method, c.path, c.id, c.sent_at) as detail
from provider_calls c
left join operations o on o.merchant_id = c.merchant_id and o.id = c.operation_id
where c.finished_at is null and c.sent_at < clock_timestamp() - make_interval(secs => %(grace)s)
  and (%(payment_id)s::uuid is null or c.payment_id = %(payment_id)s)
  -- a question moves nothing: what it was asked for is watched as a delivery
  and not (c.operation_id is null and c.method = 'GET')
  and o.outcome is null
  and not exists (
    select from provider_calls later
    where later.merchant_id = c.merchant_id and later.operation_id = c.operation_id
      and later.sent_at > c.sent_at and later.finished_at is not null)
limit %(limit)s;

-- name: keys_rise_only_with_proof
-- Keys after the first whose proof is no finished earlier call of the operation (creating moves no money: it may be open), and unknown keys.
select a.merchant_id, o.payment_id, format('%%s: its proof is no finished earlier call of its operation', a.idempotency_key) as detail
from operation_attempts a
join operations o on o.merchant_id = a.merchant_id and o.id = a.operation_id
where a.n > 1 and (%(payment_id)s::uuid is null or o.payment_id = %(payment_id)s)
  and not exists (
    select from provider_calls c
    where c.merchant_id = a.merchant_id and c.id = a.proof_call_id and c.operation_id = a.operation_id
      and (c.finished_at is not null or a.step = 'create') and c.sent_at < a.first_sent_at)
union all
select c.merchant_id, c.payment_id, format('call %%s used the key %%s, which was never written down', c.id, c.idempotency_key)
from provider_calls c
where c.operation_id is not null and c.idempotency_key is not null
  and (%(payment_id)s::uuid is null or c.payment_id = %(payment_id)s)
  and not exists (
    select from operation_attempts a
    where a.merchant_id = c.merchant_id and a.operation_id = c.operation_id and a.idempotency_key = c.idempotency_key)
limit %(limit)s;

-- name: deliveries_move
-- Pending deliveries whose job is gone or whose due time has passed, beyond the grace; when quiesced any at all.
select d.merchant_id, d.payment_id,
       format('%%s:%%s pending, %%s, due %%s%%s', d.event_id, d.handler, coalesce('job ' || d.job_id, 'no job'), d.due_at,
              coalesce(', waits for ' || d.deferred_for, '')) as detail
from deliveries d
where d.status = 'pending' and (%(payment_id)s::uuid is null or d.payment_id = %(payment_id)s)
  and case
    when %(quiesced)s then true
    when d.due_at > clock_timestamp() - make_interval(secs => %(grace)s) then false
    when d.job_id is null then true
    else not exists (select from procrastinate_jobs j where j.id = d.job_id and j.status in ('todo', 'doing')) end
limit %(limit)s;

-- name: ended_deliveries_hold_no_job
-- Deliveries that are done or dead and still name a job.
select merchant_id, payment_id, format('%%s:%%s is %%s and holds job %%s', event_id, handler, status, job_id) as detail
from deliveries
where status <> 'pending' and job_id is not null and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
limit %(limit)s;

-- name: dead_letters_are_handled
-- When quiesced: dead deliveries that no person has replayed or discarded.
select merchant_id, payment_id, format('%%s:%%s is dead (%%s) since %%s', event_id, handler, dead_reason, dead_at) as detail
from deliveries
where %(quiesced)s and status = 'dead' and resolution is null and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
limit %(limit)s;

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

-- name: webhooks_became_events
-- Stored provider events without exactly one webhook.received event.
select w.merchant_id, w.payment_id, format('webhook %%s (%%s) has %%s events', w.provider_event_id, w.type, count(e.id)) as detail
from webhooks w
left join events e on e.merchant_id = w.merchant_id and e.webhook_id = w.id and e.topic = 'webhook.received'
where %(payment_id)s::uuid is null or w.payment_id = %(payment_id)s
group by w.merchant_id, w.id
having count(e.id) <> 1
limit %(limit)s;

-- name: idempotency_keys_hold_an_answer
-- Keys of committed requests without the answer they gave.
select merchant_id, null::uuid as payment_id, format('key %%s', key) as detail
from idempotency_keys
where status is null and %(payment_id)s::uuid is null
limit %(limit)s;

-- name: ledger_entries_sum_to_zero
-- Entries of fewer than two lines, or whose lines are not zero in every currency.
select e.merchant_id, e.payment_id,
       format('entry %%s (%%s) has %%s lines%%s', e.id, e.kind, sum(coalesce(s.lines, 0)),
              coalesce(', off by ' || string_agg(s.amount || ' ' || s.currency, ', ') filter (where s.amount <> 0), '')) as detail
from ledger_entries e
left join (
  select merchant_id, entry_id, currency, count(*) as lines, sum(amount) as amount from ledger_lines
  where %(payment_id)s::uuid is null or payment_id = %(payment_id)s
  group by merchant_id, entry_id, currency
) s on s.merchant_id = e.merchant_id and s.entry_id = e.id
where %(payment_id)s::uuid is null or e.payment_id = %(payment_id)s
group by e.merchant_id, e.id
having sum(coalesce(s.lines, 0)) < 2 or bool_or(s.amount <> 0)
limit %(limit)s;

-- name: ledger_lines_are_as_audited
-- Entries whose lines are no longer what their audit entry tells, and audit entries of entries that are gone.
select coalesce(l.merchant_id, a.merchant_id) as merchant_id, coalesce(l.payment_id, a.payment_id) as payment_id,
       format('entry %%s %%s', coalesce(l.entry_id::text, a.entity_id),
              case when a.entity_id is null then 'has no audit entry' when l.entry_id is null then 'is gone' else 'was changed' end) as detail
from (
  select merchant_id, entry_id, min(payment_id::text)::uuid as payment_id,
         jsonb_agg(jsonb_build_array(line, account_id, currency, amount) order by line) as lines
  from ledger_lines where %(payment_id)s::uuid is null or payment_id = %(payment_id)s
  group by merchant_id, entry_id
) l
full join (
  select a.merchant_id, a.entity_id, a.payment_id,
         (select jsonb_agg(jsonb_build_array(t.line, t.account_id, t.currency, t.amount) order by t.line)
          from jsonb_to_recordset(a.body::jsonb #> '{after,lines}') as t (line integer, account_id uuid, currency text, amount bigint)) as lines
  from audit_log a
  where a.entity_type = 'ledger_entry' and (%(payment_id)s::uuid is null or a.payment_id = %(payment_id)s)
) a on a.merchant_id = l.merchant_id and a.entity_id = l.entry_id::text
where l.lines is distinct from a.lines
limit %(limit)s;

-- name: ledger_balances_are_their_lines
-- Merchants' balances that are not the sum of their account's lines.
select coalesce(b.merchant_id, s.merchant_id) as merchant_id, null::uuid as payment_id,
       format('account %%s: balance %%s, lines %%s %%s', coalesce(b.account_id, s.account_id), coalesce(b.amount::text, 'none'),
              coalesce(s.amount, 0), coalesce(b.currency, s.currency)) as detail
from ledger_balances b
full join (
  select account_merchant_id as merchant_id, account_id, currency, sum(amount) as amount from ledger_lines
  where account_merchant_id <> '00000000-0000-0000-0000-000000000000' group by 1, 2, 3
) s on s.merchant_id = b.merchant_id and s.account_id = b.account_id and s.currency = b.currency
where %(payment_id)s::uuid is null and b.amount is distinct from s.amount
limit %(limit)s;

-- name: ledger_is_folded
-- What was posted to merchants and never moved into their balances: no committed transaction leaves any.
select merchant_id, null::uuid as payment_id, format('account %%s: %%s %%s of transaction %%s', account_id, amount, currency, recorded_xid) as detail
from ledger_folds
where %(payment_id)s::uuid is null
limit %(limit)s;

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
select p.merchant_id, p.id, format('settled with %%s %%s in pending', sum(l.amount), l.currency)
from ledger_accounts a
join ledger_lines l on l.account_merchant_id = a.merchant_id and l.account_id = a.id
join payments p on p.merchant_id = l.merchant_id and p.id = l.payment_id and p.settled_at is not null
where a.code = 'merchant:pending' and (%(payment_id)s::uuid is null or l.payment_id = %(payment_id)s)
  and not exists (
    select from deliveries d
    where d.merchant_id = p.merchant_id and d.payment_id = p.id and d.handler = 'release_funds' and d.status <> 'done')
group by p.merchant_id, p.id, l.currency
having sum(l.amount) <> 0
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

-- name: discrepancies_are_what_is_found
-- Payments whose open discrepancies are not what their books say now, though no comparison is due that would tell.
with quiet as (
  select p.merchant_id, p.id from payments p
  where (%(payment_id)s::uuid is null or p.id = %(payment_id)s)
    and not exists (
      select from reconcile_due d
      where d.merchant_id = p.merchant_id and d.payment_id = p.id and d.due_at <= statement_timestamp())
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

-- name: children_are_audited
-- Refunds and disputes without exactly one audit entry per version.
select c.merchant_id, c.payment_id, format('%%s %%s has version %%s and %%s audit entries', c.entity, c.id, c.version, coalesce(a.entries, 0)) as detail
from (
  select 'refund' as entity, merchant_id, id, payment_id, version from refunds
  union all
  select 'dispute', merchant_id, id, payment_id, version from disputes
) c
left join (
  select merchant_id, entity_type, entity_id, count(*) as entries from audit_log
  where entity_type in ('refund', 'dispute') and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
  group by merchant_id, entity_type, entity_id
) a on a.merchant_id = c.merchant_id and a.entity_type = c.entity and a.entity_id = c.id::text
where (%(payment_id)s::uuid is null or c.payment_id = %(payment_id)s) and c.version <> coalesce(a.entries, 0)
limit %(limit)s;

-- name: refunds_follow_their_operations
-- Refunds asked of us that are over while their operation is open, or undecided after it ended.
select r.merchant_id, r.payment_id, format('refund %%s is %%s, its operation %%s', r.id, r.state, o.status) as detail
from refunds r
join operations o on o.merchant_id = r.merchant_id and o.id = r.operation_id
where (%(payment_id)s::uuid is null or r.payment_id = %(payment_id)s)
  and (r.state in ('requested', 'submitting', 'outcome_unknown') and o.finished_at is not null
       or o.finished_at is null and (%(quiesced)s or o.created_at < clock_timestamp() - make_interval(secs => %(grace)s))
          and r.state in ('failed', 'canceled') and r.provider_ref is null)
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
