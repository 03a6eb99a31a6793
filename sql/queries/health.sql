-- name: backlog
-- Pending and dead deliveries by handler; each branch reads a bounded number of rows of its own partial index.
select handler,
       count(*) filter (where part = 'pending') as pending,
       count(*) filter (where part = 'dead') as dead,
       coalesce(extract(epoch from clock_timestamp() - min(since) filter (where part = 'pending')), 0)::float8 as oldest
from (
  (select handler, 'pending' as part, created_at as since from deliveries
   where status = 'pending' and job_id is not null limit %(most)s)
  union all
  (select handler, 'pending', due_at from deliveries
   where status = 'pending' and job_id is null order by due_at limit %(most)s)
  union all
  (select handler, 'dead', dead_at from deliveries
   where status = 'dead' and resolution is null order by dead_at limit %(most)s)
) as counted
group by handler
order by handler;

-- name: unknown_outcomes
-- Payments whose outcome is unknown, bounded.
select count(*) as payments,
       coalesce(extract(epoch from clock_timestamp() - min(updated_at)), 0)::float8 as oldest
from (
  select updated_at from payments where state = 'outcome_unknown' order by updated_at limit %(most)s
) as counted;
