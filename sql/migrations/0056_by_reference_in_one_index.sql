-- postbox: no-transaction
-- The one by reference and amount begins as it does.
drop index concurrently if exists payments_by_reference_of_all;
