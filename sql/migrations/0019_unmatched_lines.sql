-- postbox: no-transaction
-- A line that is nobody's yet is looked for by the clock.
create index concurrently if not exists provider_transactions_unmatched on provider_transactions (recorded_at) where payment_id is null;
