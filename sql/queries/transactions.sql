-- name: begin_as
-- Role, actor, tenant and timeouts of one transaction, in one round trip with its beginning; all local to it.
begin;
select set_config('role', %(role)s, true),
       set_config('postbox.merchant_id', %(merchant_id)s, true),
       set_config('statement_timeout', %(statement_timeout)s, true),
       set_config('lock_timeout', %(lock_timeout)s, true),
       set_config('idle_in_transaction_session_timeout', %(idle_timeout)s, true),
       set_config('postbox.actor_type', %(actor_type)s, true),
       set_config('postbox.actor_id', %(actor_id)s, true),
       set_config('postbox.on_behalf_of', %(on_behalf_of)s, true),
       set_config('postbox.reason', %(reason)s, true),
       set_config('postbox.request_id', %(request_id)s, true),
       set_config('postbox.correlation_id', %(correlation_id)s, true),
       set_config('postbox.causation_id', %(causation_id)s, true);

-- name: commit
-- The end of a transaction that was sent in one piece.
commit;

-- name: rollback
-- The end of a transaction in which the database refused nothing; what was prepared in its session stays.
rollback;

-- name: act_as
-- Another actor for the statements that follow in this transaction.
select set_config('postbox.actor_type', %(actor_type)s, true),
       set_config('postbox.actor_id', %(actor_id)s, true),
       set_config('postbox.on_behalf_of', %(on_behalf_of)s, true),
       set_config('postbox.reason', %(reason)s, true),
       set_config('postbox.request_id', %(request_id)s, true),
       set_config('postbox.correlation_id', %(correlation_id)s, true),
       set_config('postbox.causation_id', %(causation_id)s, true);

-- name: forget
-- All that this session has prepared, the driver's too.
deallocate all;

-- name: wake_workers
-- Tells every listening worker that there may be work; sent outside any payment transaction. It writes nothing that a
-- crash could lose, so its commit waits for no disk.
select set_config('synchronous_commit', 'off', true), pg_notify('procrastinate_any_queue_v1', '{"type": "job_inserted", "job_id": 0}');

-- name: because
-- The reason of what follows, for its audit entries; empty takes it back.
select set_config('postbox.reason', %(reason)s, true);
