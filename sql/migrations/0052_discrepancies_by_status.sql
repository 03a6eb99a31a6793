-- postbox: no-transaction
-- Operators page through one status, and a rare one lies anywhere among all discrepancies, which are never deleted.
create index concurrently if not exists discrepancies_by_status on discrepancies (status, first_seen_at desc, id desc);
