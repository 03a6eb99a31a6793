-- postbox: no-transaction
-- Operators page through one type, and a rare one lies anywhere among all webhooks; a row is never updated, so it costs one entry.
create index concurrently if not exists webhooks_by_type on webhooks (merchant_id, type, id);
