-- What each role may do: the public API of the database. Anything not granted here is refused.

revoke all on all tables in schema postbox, procrastinate from postbox_api, postbox_worker, postbox_operator, postbox_compliance;
revoke all on all functions in schema postbox, procrastinate from public, postbox_api, postbox_worker, postbox_operator, postbox_compliance;

grant usage on schema postbox to postbox_api, postbox_worker, postbox_operator;
grant usage on schema procrastinate to postbox_worker, postbox_operator;
grant execute on function acting_type, acting_role, assert_actor_allowed, acting_merchant, current_epoch
  to postbox_api, postbox_worker, postbox_operator;
grant execute on function record_act to postbox_worker, postbox_operator;
grant execute on function keep_answer to postbox_api, postbox_operator;
grant execute on function ledger_account_name to postbox_worker, postbox_operator;

-- postbox_api: creates payments, requests operations, stores webhooks, reads
grant execute on function authenticate, admit_request, take_token, webhook_owner, act_in_request, store_webhooks, store_webhook, webhooks_came_late, webhook_came_late, payment_webhooks, queue_backlog,
  outcomes_unknown, oldest_runnable, discrepancies_open, debts_of_merchants to postbox_api;
grant execute on function begin_sign_in, open_session, take_sign_in_token, note_refused_sign_in to postbox_api;
grant select on merchants, provider_accounts, currencies, provider_currencies, payments, operations, events, topics,
  webhooks, provider_calls, audit_log, deliveries, database_epochs, schema_migrations, payment_states, payment_transitions,
  subscriptions to postbox_api;
grant select on refunds, disputes to postbox_api;
grant select on ledger_accounts, ledger_entries, ledger_lines, ledger_balances to postbox_api;
grant insert (merchant_id, id, state, currency, amount, provider, provider_account, method, method_token, capture_method, return_url,
  livemode, reference, description, statement_descriptor, metadata, retry_of) on payments to postbox_api;
grant update (state, cancel_reason, amount_refund_pending) on payments to postbox_api;
grant insert (merchant_id, id, payment_id, currency, amount, origin, operation_id, reason, provider, provider_account)
  on refunds to postbox_api, postbox_operator;
grant insert (merchant_id, id, payment_id, kind, step, amount, reason, params, params_sha256) on operations to postbox_api;
grant insert on webhooks to postbox_api;
grant usage on sequence requests_served to postbox_api;
grant select, insert, update on webhook_rejections, idempotency_keys to postbox_api;

-- postbox_worker: moves everything
grant select on all tables in schema postbox to postbox_worker;
grant insert, update on operations, provider_calls, circuits to postbox_worker;
-- a late match moves a line to its merchant; what the provider said about money stays
grant insert, update (merchant_id, payment_id, refund_id, dispute_id, status, available_on, exchanged, payout_ref, updated_at) on provider_transactions to postbox_worker;
grant insert (merchant_id, id, payment_id, currency, amount, origin, operation_id, reason, provider, provider_account)
  on refunds to postbox_worker;
grant update (state, provider_ref, provider_status, failure_reason) on refunds to postbox_worker;
grant insert, update on disputes to postbox_worker;
grant insert on operation_attempts, delivery_failures to postbox_worker;
grant update on payments, deliveries to postbox_worker;
grant delete on idempotency_keys to postbox_worker;
grant insert, update on sweeps to postbox_worker;
grant execute on function enqueue_delivery, enqueue_deliveries, emit_observation_due, emit_dispute_status_unknown, pauses_of, put_off_paused, fetch_in_turn, waits_in, pick_siblings, pick_in_turn, start_group, finish_group to postbox_worker;
grant execute on function state_of_facts, facts_of_children to postbox_worker, postbox_operator;
-- discrepancies are found and closed by function only
grant insert, update (due_at) on reconcile_due to postbox_worker;
grant insert on webhooks to postbox_worker;
grant insert, update (status, position, found, finished_at) on reconciliation_runs to postbox_worker;
grant insert, update (status, arrives_at, paid_at, failure_code, lines_read_at, updated_at) on payouts to postbox_worker;
grant execute on function webhook_owner, act_in_request, store_webhooks, store_webhook, await_webhooks, webhooks_came_late, webhook_came_late, reconcile_balance, tell_unacknowledged to postbox_worker;
grant execute on function reconcile_lines, lines_of_nobody, lines_of_somebody, reconcile_payout, sum_of_payout_lines, payout_disagreements
  to postbox_worker, postbox_operator;
grant execute on function reconcile, reconcile_payments, entered_state_at, reconcile_ledger, ledger_imbalances to postbox_worker, postbox_operator;
-- the books are written by function only
grant execute on function ledger_post, ledger_close, compute_fee to postbox_worker;
grant execute on function watch_outcome, credit_merchant, release_funds, post_fact, run_local_batch to postbox_worker;
grant usage, select on sequence requests_served to postbox_worker;
grant select, insert, update, delete on all tables in schema procrastinate to postbox_worker;
grant usage on all sequences in schema procrastinate to postbox_worker;
grant execute on all functions in schema procrastinate to postbox_worker;

-- postbox_operator: people at the command line
grant select on all tables in schema postbox, procrastinate to postbox_operator;
grant insert, update on merchants, provider_accounts to postbox_operator;
grant insert, update (revoked_at, expires_at) on api_keys to postbox_operator;
grant insert, update, delete on pauses to postbox_operator;
grant update (state, cancel_reason, amount_captured, amount_refund_pending, observe_at) on payments to postbox_operator;
grant insert (merchant_id, id, payment_id, kind, step, amount, reason, params, params_sha256) on operations to postbox_operator;
-- enough to replay or discard a dead letter and to end a pause's waiting; never to call a delivery done
grant update (status, due_at, job_id, alone, failures, deferrals, rescues, deferred_since, deferred_for, dead_at, dead_reason,
  resolution, resolved_by, resolved_at, resolved_reason) on deliveries to postbox_operator;
grant insert on fee_schedules, fee_schedule_fixed to postbox_operator;
grant insert on provider_prices to postbox_operator;
grant execute on function set_provider_price to postbox_operator;
grant execute on function ledger_reverse, working_days_after, write_off_discrepancy, compute_fee to postbox_operator;
grant execute on function request_merchant_payout, end_merchant_payout, move_reserve, write_off_debt to postbox_operator;
-- what a person says about a discrepancy; who found it and what it is about is the reconciler's
grant update (status, acknowledged_by, acknowledged_at, closed_at, resolved_by, resolution_code, resolution_note) on discrepancies
  to postbox_operator;
grant execute on function enqueue_delivery, enqueue_deliveries, authenticate to postbox_operator;
grant execute on all functions in schema procrastinate to postbox_operator;
grant insert on all tables in schema procrastinate to postbox_operator;
grant usage on all sequences in schema procrastinate to postbox_operator;
-- people: what proves who they are is read by the sign-in alone, which is a function; sessions are opened by the door of
-- /ops/v1, which is the API's, and entered by who holds the token; they end, they are not rewritten
revoke select on operator_credentials, operator_sessions, sign_in_failures from postbox_worker, postbox_operator;
grant insert, update (disabled_at) on operators to postbox_operator;
grant select (operator_id, totp_step, changed_at), insert, update on operator_credentials to postbox_operator;
grant select (operator_id, address, created_at, seen_at, ended_at), update (ended_at) on operator_sessions to postbox_operator;
grant execute on function enter_session, prolong_session, end_session, take_operator_token, role_may to postbox_operator;
grant insert on access_log to postbox_operator;
grant insert (merchant_id, act, payment_id, parameters, parameters_sha256, proposed_by, reason, expires_at),
  update (status, decided_by, decision_reason) on proposals to postbox_operator;
grant insert, update on idempotency_keys to postbox_operator;
grant execute on function replay_webhook, adopt_payment to postbox_operator;
grant execute on function moves_money, refund_takes_two to postbox_operator;

-- postbox_compliance: the reports and nothing else
grant usage on schema report_v1 to postbox_compliance, postbox_operator;
grant select on all tables in schema report_v1 to postbox_compliance, postbox_operator;
-- a view's functions run with its reader's privileges; without usage on schema postbox these are reachable by no other way
grant execute on function audit_row_sha256, discrepancy_bucket to postbox_compliance, postbox_operator;
