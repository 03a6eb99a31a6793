-- The few things that postbox_api may know beyond its merchant: each function says one thing and no row of a tenant.

create or replace function webhook_owner(p_provider text, p_account text) returns uuid
  language sql stable security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select merchant_id from provider_accounts where provider = p_provider and account = p_account
$$;
comment on function webhook_owner is 'Whose account a webhook came in for; the receiver acts for that merchant. Null when nobody owns it.';

-- An event for a shared account is the platform's row, although it is about a merchant's payment: of those, and of the
-- merchant's own, this shows what a timeline says.
create or replace function payment_webhooks(p_payment_id uuid)
  returns table (id uuid, provider text, provider_event_id text, type text, received_at timestamptz)
  language sql stable security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select w.id, w.provider, w.provider_event_id, w.type, w.received_at
  from payments p
  join webhooks w on w.payment_ref = p.provider_ref and w.provider = p.provider and w.account = p.provider_account
  where p.merchant_id = acting_merchant() and p.id = p_payment_id
$$;
comment on function payment_webhooks is 'The provider events about one payment of the acting merchant; no row for anybody else''s.';

create or replace function queue_backlog(p_most integer)
  returns table (handler text, pending bigint, dead bigint, oldest double precision)
  language sql stable security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select counted.handler,
         count(*) filter (where part = 'pending'),
         count(*) filter (where part = 'dead'),
         coalesce(extract(epoch from clock_timestamp() - min(since) filter (where part = 'pending')), 0)::float8
  from (
    (select d.handler, 'pending' as part, d.created_at as since from deliveries d
     where d.status = 'pending' and d.job_id is not null limit p_most)
    union all
    (select d.handler, 'pending', d.due_at from deliveries d
     where d.status = 'pending' and d.job_id is null limit p_most)
    union all
    (select d.handler, 'dead', d.dead_at from deliveries d
     where d.status = 'dead' and d.resolution is null order by d.dead_at limit p_most)
  ) as counted
  group by counted.handler
$$;
comment on function queue_backlog is
  'Pending and dead deliveries of all merchants by handler; each branch reads at most so many rows of its own '
  'partial index. Of what is pending those are any rows, so the oldest is that of what was counted.';

create or replace function outcomes_unknown(p_most integer) returns table (payments bigint, oldest double precision)
  language sql stable security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select count(*), coalesce(extract(epoch from clock_timestamp() - min(counted.updated_at)), 0)::float8
  from (
    select p.updated_at from payments p where p.state = 'outcome_unknown' order by p.updated_at limit p_most
  ) as counted
$$;
comment on function outcomes_unknown is 'How many payments of all merchants have no definite answer, bounded, and for how many seconds the oldest.';

create or replace function oldest_runnable(p_most integer) returns double precision
  language sql stable security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  with recursive firsts as (
    (select d.lane, d.merchant_id, 1 as number from deliveries d
     where d.status = 'pending' and d.job_id is not null
     order by d.lane, d.merchant_id, d.event_id, d.handler limit 1)
    union all
    select following.* from firsts f cross join lateral (
      select d.lane, d.merchant_id, f.number + 1 from deliveries d
      where d.status = 'pending' and d.job_id is not null and (d.lane, d.merchant_id) > (f.lane, f.merchant_id)
      order by d.lane, d.merchant_id, d.event_id, d.handler limit 1) as following
    where f.number < p_most
  )
  select coalesce(greatest(0, extract(epoch from clock_timestamp() - min(runnable.since))), 0)::float8
  from firsts f
  cross join lateral (
    select waiting.since
    from (
      select d.event_id, d.handler, greatest(d.due_at, d.created_at) as since from deliveries d
      where d.status = 'pending' and d.job_id is not null and d.lane = f.lane and d.merchant_id = f.merchant_id
      order by d.lane, d.merchant_id, d.event_id, d.handler
      -- of a handler that is paused a few may come first, until a worker has put them off
      limit 20
    ) waiting
    -- the remote lane calls the one provider of this release
    where not exists (select from pauses p where p.kind = 'provider' and f.lane = 'remote')
      and not exists (select from pauses_of(waiting.handler, f.merchant_id, null))
    order by waiting.event_id, waiting.handler limit 1) as runnable
$$;
comment on function oldest_runnable is
  'For how many seconds a worker could have run some delivery and has not: the first event of each lane and merchant that waits for '
  'no operator, at most so many of them, each a few steps in the index however long the queue.';

-- An earlier release's form, which counted less.
do $$ begin
  if to_regprocedure('discrepancies_open(integer)')::oid in (select oid from pg_proc where not 'unacknowledged' = any (proargnames)) then
    drop function discrepancies_open(integer);
  end if;
end $$;

create or replace function discrepancies_open(p_most integer)
  returns table (type text, severity text, discrepancies bigint, overdue bigint, unacknowledged bigint)
  language sql stable security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select counted.type, counted.severity, count(*), count(*) filter (where counted.sla_due_at < clock_timestamp()),
         count(*) filter (where counted.status = 'open' and counted.unacknowledged_at is not null)
  from unnest(array['critical', 'high', 'medium', 'low']) s (severity)
  -- each severity for itself, so that a flood of small ones hides none
  cross join lateral (
    select d.type, d.severity, d.status, d.sla_due_at, d.unacknowledged_at from discrepancies d where d.closed_at is null and d.severity = s.severity limit p_most
  ) as counted
  group by counted.type, counted.severity
$$;
comment on function discrepancies_open is 'Books of all merchants that do not meet, by type and severity, bounded: how many, past their deadline, and not acknowledged in time.';

create or replace function debts_of_merchants(p_most integer) returns table (currency text, merchants bigint, owed numeric)
  language sql stable security definer
  set search_path = postbox, procrastinate, pg_temp
as $$
  select owing.currency, count(*), sum(owing.amount)
  from (
    select b.currency, b.amount from ledger_accounts a
    join ledger_balances b on b.merchant_id = a.merchant_id and b.account_id = a.id
    where a.code = 'merchant:available' and b.amount > 0 limit p_most
  ) as owing
  group by owing.currency
$$;
comment on function debts_of_merchants is 'How many merchants have less than nothing available, bounded, and what that comes to in minor units, by currency.';
