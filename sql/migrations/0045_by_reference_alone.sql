-- postbox: no-transaction
-- Its successor serves whoever used it, the release before included.
drop index concurrently if exists payments_by_reference;
