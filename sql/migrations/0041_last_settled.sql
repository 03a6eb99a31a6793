-- postbox: no-transaction
-- When a payment last settled, which the status page tells: the last entry, instead of every payment there is.
create index concurrently if not exists payments_settled on payments (settled_at) where settled_at is not null;
