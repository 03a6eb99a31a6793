-- postbox: no-transaction
-- A reference is looked for by its merchant, and by an operator who does not know whose it is: the merchant comes second.
create index concurrently if not exists payments_by_reference_of_all on payments (reference, merchant_id) where reference is not null;
