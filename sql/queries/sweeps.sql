-- name: record
-- A sweep ran now and found this many.
insert into sweeps (name, last_found, found) values (%(name)s, %(found)s, %(found)s)
on conflict (name) do update set
  last_run_at = clock_timestamp(), last_found = excluded.last_found, runs = sweeps.runs + 1, found = sweeps.found + excluded.found;

-- name: try_lock
-- One sweeper of each kind at a time, over all workers; held until this transaction ends.
select pg_try_advisory_xact_lock(hashtextextended('postbox sweep ' || %(name)s, 0)) as locked;
