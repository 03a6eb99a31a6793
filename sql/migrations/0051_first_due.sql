-- What is gone stays in the index by date for as long as an old snapshot sees it: a worker that starts need not read past all of
-- it to learn what the ones before it knew.

alter table sweeps add column first_due_at timestamptz;
comment on column sweeps.first_due_at is
  'Of a sweep that looks by date: before it nothing waits; null looks from the very first on. Told only by who had to look for long.';
