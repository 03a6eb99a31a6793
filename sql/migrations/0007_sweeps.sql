-- What an operator needs to see: when each sweep last ran.

create table sweeps (
  name text primary key,
  last_run_at timestamptz not null default clock_timestamp(),
  last_found bigint not null default 0,
  runs bigint not null default 1,
  found bigint not null default 0,
  constraint sweeps_counts_are_not_negative check (last_found >= 0 and found >= 0 and runs > 0)
) with (fillfactor = 50);
comment on table sweeps is 'One row per sweep: when it last ran and how much it found. Operational, never evidence.';
