-- postbox: no-transaction
-- When money was last recorded that is available, which the status page tells: the last entry, instead of every line there is.
create index concurrently if not exists provider_transactions_available on provider_transactions (recorded_at) where status = 'available';
