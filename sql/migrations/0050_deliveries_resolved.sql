-- postbox: no-transaction
-- A dead letter that somebody handled is told from one that never was; only people make entries here, and no delivery that runs.
create index concurrently if not exists deliveries_resolved on deliveries (resolved_at) where resolution is not null;
