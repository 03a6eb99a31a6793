-- name: record
-- A sweep ran now, found this many, and came this far if it walks.
insert into sweeps (name, last_found, found, walked_to) values (%(name)s, %(found)s, %(found)s, %(walked_to)s)
on conflict (name) do update set
  last_run_at = clock_timestamp(), last_found = excluded.last_found, runs = sweeps.runs + 1, found = sweeps.found + excluded.found,
  walked_to = excluded.walked_to;

-- name: walked_to
-- Where a walk goes on, read under its lock; null begins anew.
select walked_to from sweeps where name = %(name)s;

-- name: first_due
-- From which date on a sweep scans, as far as somebody had to scan for long.
select first_due_at from sweeps where name = %(name)s;

-- name: keep_first_due
-- Before this date nothing waits for this sweep.
update sweeps set first_due_at = %(first_due_at)s where name = %(name)s;

-- name: try_lock
-- One sweeper of each kind at a time, over all workers; held until this transaction ends.
select pg_try_advisory_xact_lock(hashtextextended('postbox sweep ' || %(name)s, 0)) as locked;

-- name: lock
-- Keep a sweep away until this transaction ends, once what is under way has committed.
select pg_advisory_xact_lock(hashtextextended('postbox sweep ' || %(name)s, 0));
