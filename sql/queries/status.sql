-- name: handlers
-- Per handler: what can run now, what waits, what is dead, each with its oldest.
select s.handler, s.lane,
  count(d.event_id) filter (where d.status = 'pending' and (d.job_id is not null or d.due_at <= clock_timestamp())) as runnable,
  extract(epoch from clock_timestamp() - min(greatest(d.due_at, d.created_at)) filter (
    where d.status = 'pending' and (d.job_id is not null or d.due_at <= clock_timestamp())))::float8 as oldest_runnable_s,
  count(d.event_id) filter (where d.status = 'pending' and d.job_id is null and d.due_at > clock_timestamp()) as waiting,
  extract(epoch from clock_timestamp() - min(d.created_at) filter (
    where d.status = 'pending' and d.job_id is null and d.due_at > clock_timestamp()))::float8 as oldest_waiting_s,
  extract(epoch from min(d.due_at) filter (
    where d.status = 'pending' and d.job_id is null and d.due_at > clock_timestamp()) - clock_timestamp())::float8 as next_due_in_s,
  count(d.event_id) filter (where d.status = 'dead' and d.resolution is null) as dead
from (select distinct handler, lane from subscriptions) s
left join deliveries d on d.handler = s.handler and d.status <> 'done'
group by s.handler, s.lane
order by s.handler;

-- name: payments
-- Payments that are not at rest: how many in which state, and since when the oldest.
select state, count(*) as payments, extract(epoch from clock_timestamp() - min(updated_at))::float8 as oldest_s
from payments
where state in ('initiated', 'submitting', 'outcome_unknown', 'submitted', 'requires_action', 'authorized')
group by state
order by state;

-- name: unknown_dispute_statuses
-- Words of a provider for disputes that nobody knows here, of disputes that are not over or were changed within a month.
select d.provider, d.provider_status, count(*) as disputes
from disputes d
where (d.state in ('inquiry', 'open') or d.updated_at > clock_timestamp() - interval '30 days')
  and exists (
    select from events e
    where e.merchant_id = d.merchant_id and e.payment_id = d.payment_id and e.dispute_id = d.id
      and e.topic = 'dispute.status_unknown' and e.payload ->> 'provider_status' = d.provider_status)
group by d.provider, d.provider_status
order by d.provider, d.provider_status;

-- name: circuits
-- Provider accounts that have failed us, and whether calls are held back.
select provider, account, state, failures, opened_at, probe_at, reason from circuits order by provider, account;

-- name: lately
-- When things last happened: a webhook received, a webhook refused, a payment settled. Each is the last entry of an index.
select (select max(last.received_at) from (select distinct merchant_id from provider_accounts) owner
        cross join lateral (
          select w.received_at from webhooks w where w.merchant_id = owner.merchant_id order by w.id desc limit 1) last) as last_webhook_at,
       (select max(last.second) from provider_accounts a
        cross join lateral (
          select r.second from webhook_rejections r
          where r.merchant_id = a.merchant_id and r.provider = a.provider and r.account = a.account
          order by r.second desc limit 1) last) as last_refusal_at,
       (select max(recorded_at) from provider_transactions where status = 'available') as last_available_at,
       (select max(settled_at) from payments) as last_settled_at;

-- name: sweeps
-- When each sweep last ran, and what it found.
select name, last_run_at, extract(epoch from clock_timestamp() - last_run_at)::float8 as ago_s, last_found, runs, found
from sweeps order by name;

-- name: discrepancies
-- Books that do not meet, by severity, worst first: how many, since when the oldest, how many past their deadline, and of
-- how many it was told that nobody acknowledged them in time.
select severity, count(*) as open, count(*) filter (where sla_due_at < clock_timestamp()) as overdue,
       count(*) filter (where status = 'open' and unacknowledged_at is not null) as unacknowledged,
       extract(epoch from clock_timestamp() - min(first_seen_at))::float8 as oldest_s
from discrepancies where closed_at is null
group by severity
order by array_position(array['critical', 'high', 'medium', 'low'], severity);
