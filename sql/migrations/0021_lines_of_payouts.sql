-- postbox: no-transaction
-- A payout is compared with the sum of its lines.
create index concurrently if not exists provider_transactions_by_payout on provider_transactions (payout_ref) where payout_ref is not null;
