-- How far a sweep that walks by key has come, so that it reaches the end whoever runs its next page.
-- The table has a row per sweep: its constraint is checked within the lock that the column takes anyway.
-- squawk-ignore-file constraint-missing-not-valid

alter table sweeps
  add column walked_to text[],
  add constraint sweeps_walked_to_is_a_delivery check (cardinality(walked_to) = 3);
comment on column sweeps.walked_to is
  'Of a sweep that walks over deliveries: the key (merchant_id, event_id, handler) of the last one seen; null begins anew.';
