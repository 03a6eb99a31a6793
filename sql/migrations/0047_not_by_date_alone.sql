-- postbox: no-transaction
-- A plan that is made while nothing waits would take it for the one by merchant, and read what is due of all for each.
drop index concurrently if exists deliveries_waiting;
