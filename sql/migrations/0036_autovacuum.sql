-- What is large and only grows is vacuumed and counted by fiftieths of it, not by fifths and tenths: a vacuum of a fifth of a
-- year's audit is a night's work, an index-only scan of the books needs pages that a vacuum has seen, and a plan made while next
-- to nothing waited is wrong when a hundred thousand do.

alter table audit_log set (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table events set (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table webhooks set (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table ledger_entries set (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table ledger_lines set (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- updated a few times in their first minute, and never again
alter table payments set (autovacuum_analyze_scale_factor = 0.02);
alter table deliveries set (autovacuum_analyze_scale_factor = 0.02);
alter table operations set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table provider_calls set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table provider_transactions set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- deleted a week after they were inserted, in batches
alter table idempotency_keys set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02);
