-- postbox: no-transaction
-- A merchant may give all payments one reference. What looks like another payment was asked for just before it, for as much:
-- neither is looked for among all of that reference. An operator's question begins with the reference alone.
create index concurrently if not exists payments_by_reference_and_amount on payments (reference, merchant_id, amount, created_at) where reference is not null;
