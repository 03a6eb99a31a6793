-- All triggers, in firing order: _200_ check, _500_ audit, _700_ event, _900_ fan-out.
-- Every guard is ENABLE ALWAYS, so that session_replication_role does not switch it off; the runner asserts it.

-- payments: the state machine
create or replace trigger payments_200_check before insert or update or delete on payments
  for each row execute function payments_200_check();
create or replace trigger payments_200_no_truncate before truncate on payments
  for each statement execute function payments_200_check();
create or replace trigger payments_500_audit after insert or update on payments
  for each row execute function payments_500_audit();
create or replace trigger payments_700_event after insert or update on payments
  for each row execute function payments_700_event();
create or replace trigger payments_500_audit_of_group after update on payments
  referencing old table as was new table as became for each statement execute function payments_500_audit_of_group();
create or replace trigger payments_700_event_of_group after update on payments
  referencing old table as was new table as became for each statement execute function payments_700_event_of_group();

-- refunds and disputes: the machines of what follows a confirmation
create or replace trigger refunds_200_check before insert or update or delete on refunds
  for each row execute function refunds_200_check();
create or replace trigger refunds_200_no_truncate before truncate on refunds
  for each statement execute function refunds_200_check();
create or replace trigger refunds_500_audit after insert or update on refunds
  for each row execute function refunds_500_audit();
create or replace trigger refunds_700_event after insert or update on refunds
  for each row execute function refunds_700_event();
create or replace trigger disputes_200_check before insert or update or delete on disputes
  for each row execute function disputes_200_check();
create or replace trigger disputes_200_no_truncate before truncate on disputes
  for each statement execute function disputes_200_check();
create or replace trigger disputes_500_audit after insert or update on disputes
  for each row execute function disputes_500_audit();
create or replace trigger disputes_700_event after insert or update on disputes
  for each row execute function disputes_700_event();

-- operations: intent, outcome, wake-up
create or replace trigger operations_200_check before insert or update or delete on operations
  for each row execute function operations_200_check();
create or replace trigger operations_200_intent before insert on operations
  for each row execute function operations_200_intent();
create or replace trigger operations_200_no_truncate before truncate on operations
  for each statement execute function operations_200_check();
create or replace trigger operations_500_audit after insert or update on operations
  for each row execute function operations_500_audit();
create or replace trigger operations_700_event after insert on operations
  for each row execute function operations_700_event();

-- provider_calls: written before, completed once
create or replace trigger provider_calls_200_check before insert or update or delete on provider_calls
  for each row execute function provider_calls_200_check();
create or replace trigger provider_calls_200_no_truncate before truncate on provider_calls
  for each statement execute function provider_calls_200_check();
create or replace trigger provider_calls_500_audit after insert or update on provider_calls
  for each row execute function provider_calls_500_audit();

-- operation_attempts: a key that was sent stays on record
create or replace trigger operation_attempts_200_append_only before update or delete on operation_attempts
  for each row execute function refuse_change();
create or replace trigger operation_attempts_200_no_truncate before truncate on operation_attempts
  for each statement execute function refuse_change();

create or replace trigger operation_attempts_700_event after insert on operation_attempts
  for each row when (new.step = 'create' and new.n > 1) execute function operation_attempts_700_event();

-- webhooks: stored once, audited, queued
create or replace trigger webhooks_200_append_only before update or delete on webhooks
  for each row execute function refuse_change();
create or replace trigger webhooks_200_no_truncate before truncate on webhooks
  for each statement execute function refuse_change();
create or replace trigger webhooks_500_audit after insert on webhooks
  for each row execute function webhooks_500_audit();
create or replace trigger webhooks_700_event after insert on webhooks
  for each row execute function webhooks_700_event();
create or replace trigger webhook_rejections_500_audit after insert on webhook_rejections
  for each row execute function webhook_rejections_500_audit();

-- events: append-only, fanned out
create or replace trigger events_200_append_only before update or delete on events
  for each row execute function refuse_change();
create or replace trigger events_200_no_truncate before truncate on events
  for each statement execute function refuse_change();
create or replace trigger events_900_fan_out after insert on events
  for each row execute function events_900_fan_out();
create or replace trigger events_900_reconcile after insert on events
  for each row when (new.payment_id is not null and tells_of_books(new.topic)) execute function events_900_reconcile();
create or replace trigger events_900_fan_out_of_group after insert on events
  referencing new table as added for each statement execute function events_900_fan_out_of_group();
create or replace trigger events_900_reconcile_of_group after insert on events
  referencing new table as added for each statement execute function events_900_reconcile_of_group();

-- deliveries and their failures: never lost
create or replace trigger deliveries_200_no_delete before delete on deliveries
  for each row execute function refuse_change();
create or replace trigger deliveries_200_dead_letter before update on deliveries
  for each row when (old.status = 'dead' or new.resolution is distinct from old.resolution) execute function deliveries_200_dead_letter();
create or replace trigger deliveries_200_sooner before update on deliveries
  for each row when (old.status = 'pending' and new.due_at > old.due_at) execute function deliveries_200_sooner();
create or replace trigger deliveries_200_no_truncate before truncate on deliveries
  for each statement execute function refuse_change();
create or replace trigger delivery_failures_200_append_only before update or delete on delivery_failures
  for each row execute function refuse_change();
create or replace trigger delivery_failures_200_no_truncate before truncate on delivery_failures
  for each statement execute function refuse_change();

-- merchants, keys, accounts, pauses: an operator's acts
create or replace trigger merchants_500_audit after insert or update on merchants
  for each row execute function tenants_500_audit();
create or replace trigger api_keys_500_audit after insert or update on api_keys
  for each row execute function tenants_500_audit();
create or replace trigger provider_accounts_500_audit after insert or update on provider_accounts
  for each row execute function tenants_500_audit();
create or replace trigger pauses_500_audit after insert or update or delete on pauses
  for each row execute function pauses_500_audit();

-- audit_log: append-only
create or replace trigger audit_log_200_append_only before update or delete on audit_log
  for each row execute function refuse_change();
create or replace trigger audit_log_200_no_truncate before truncate on audit_log
  for each statement execute function refuse_change();

-- proposals: what needs two people
create or replace trigger proposals_200_check before insert or update or delete on proposals
  for each row execute function proposals_200_check();
create or replace trigger proposals_200_no_truncate before truncate on proposals
  for each statement execute function refuse_change();
create or replace trigger proposals_500_audit after insert or update on proposals
  for each row execute function proposals_500_audit();

-- refund_limits: what one person may give back
create or replace trigger refund_limits_500_audit after insert or update or delete on refund_limits
  for each row execute function refund_limits_500_audit();

-- access_log: append-only
create or replace trigger access_log_200_append_only before update or delete on access_log
  for each row execute function refuse_change();
create or replace trigger access_log_200_no_truncate before truncate on access_log
  for each statement execute function refuse_change();

-- operators: who they are, how they prove it, where they are signed in
create or replace trigger operators_500_audit after insert or update on operators
  for each row execute function operators_500_audit();
create or replace trigger operators_200_no_delete before delete on operators
  for each row execute function refuse_change();
create or replace trigger operator_credentials_500_audit after insert or update on operator_credentials
  for each row execute function operators_500_audit();
create or replace trigger operator_sessions_500_audit after insert or update on operator_sessions
  for each row execute function operators_500_audit();

-- provider_transactions: a money line tells what became of it
create or replace trigger provider_transactions_700_event after insert or update on provider_transactions
  for each row execute function provider_transactions_700_event();

-- fee schedules and the chart: a price that was charged, an account that was posted to, stay
create or replace trigger fee_schedules_200_append_only before update or delete on fee_schedules
  for each row execute function refuse_change();
create or replace trigger fee_schedules_200_no_truncate before truncate on fee_schedules
  for each statement execute function refuse_change();
create or replace trigger fee_schedule_fixed_200_append_only before update or delete on fee_schedule_fixed
  for each row execute function refuse_change();
create or replace trigger fee_schedule_fixed_200_no_truncate before truncate on fee_schedule_fixed
  for each statement execute function refuse_change();
create or replace trigger ledger_accounts_200_append_only before update or delete on ledger_accounts
  for each row execute function refuse_change();
create or replace trigger ledger_accounts_200_no_truncate before truncate on ledger_accounts
  for each statement execute function refuse_change();

create or replace trigger provider_prices_500_audit after insert or update on provider_prices
  for each row execute function prices_500_audit();
create or replace trigger fee_schedules_500_audit after insert or update on fee_schedules
  for each row execute function prices_500_audit();
create or replace trigger fee_schedule_fixed_500_audit after insert or update on fee_schedule_fixed
  for each row execute function prices_500_audit();

-- ledger: entries and lines are written together and never again; balanced and folded at COMMIT
create or replace trigger ledger_entries_200_append_only before update or delete on ledger_entries
  for each row execute function refuse_change();
create or replace trigger ledger_entries_200_check before insert on ledger_entries
  for each row execute function ledger_entries_200_check();
create or replace trigger ledger_entries_900_reconcile after insert on ledger_entries
  for each row when (new.payment_id is not null) execute function ledger_entries_900_reconcile();
create or replace trigger ledger_entries_200_no_truncate before truncate on ledger_entries
  for each statement execute function refuse_change();
create or replace trigger ledger_lines_200_append_only before update or delete on ledger_lines
  for each row execute function refuse_change();
create or replace trigger ledger_lines_200_check before insert on ledger_lines
  for each row execute function ledger_lines_200_check();
create or replace trigger ledger_lines_200_no_truncate before truncate on ledger_lines
  for each statement execute function refuse_change();
create or replace trigger ledger_lines_500_audit after insert on ledger_lines
  referencing new table as added for each statement execute function ledger_lines_500_audit();
create or replace trigger ledger_balances_200_no_delete before delete on ledger_balances
  for each row execute function refuse_change();
create or replace trigger ledger_balances_200_no_truncate before truncate on ledger_balances
  for each statement execute function refuse_change();

-- runs and payouts: what asks the provider, and what it pays out
create or replace trigger reconciliation_runs_700_event after insert on reconciliation_runs
  for each row when (new.kind not in ('nightly', 'ledger')) execute function reconciliation_runs_700_event();
create or replace trigger payouts_500_audit after insert or update on payouts
  for each row execute function payouts_500_audit();
create or replace trigger payouts_700_event after insert or update on payouts
  for each row execute function payouts_700_event();
create or replace trigger payouts_200_no_delete before delete on payouts
  for each row execute function refuse_change();
create or replace trigger payouts_200_no_truncate before truncate on payouts
  for each statement execute function refuse_change();

-- merchant payouts: what merchants were paid, and by which line of the bank
create or replace trigger merchant_payouts_200_check before insert or update or delete on merchant_payouts
  for each row execute function merchant_payouts_200_check();
create or replace trigger merchant_payouts_200_no_truncate before truncate on merchant_payouts
  for each statement execute function refuse_change();
create or replace trigger merchant_payouts_500_audit after insert or update on merchant_payouts
  for each row execute function merchant_payouts_500_audit();

-- discrepancies: opened and closed aloud, never deleted
create or replace trigger discrepancies_200_check before insert or update or delete on discrepancies
  for each row execute function discrepancies_200_check();
create or replace trigger discrepancies_200_no_truncate before truncate on discrepancies
  for each statement execute function discrepancies_200_check();
create or replace trigger discrepancies_500_audit after insert or update on discrepancies
  for each row execute function discrepancies_500_audit();
create or replace trigger discrepancies_700_event after insert or update on discrepancies
  for each row execute function discrepancies_700_event();

-- a constraint trigger cannot be replaced: one that is there stays, its function is replaced under it
do $$
declare
  t text[];
begin
  foreach t slice 1 in array array[
    ['ledger_entries', 'ledger_entries_200_balanced'],
    ['ledger_lines', 'ledger_lines_200_balanced'],
    ['ledger_folds', 'ledger_folds_200_closed']
  ] loop
    if not exists (select from pg_trigger where tgrelid = ('postbox.' || t[1])::regclass and tgname = t[2]) then
      execute format(
        'create constraint trigger %I after insert on postbox.%I deferrable initially deferred for each row execute function %I()',
        t[2], t[1], t[2]);
    end if;
  end loop;
end $$;

-- create or replace resets ENABLE ALWAYS, so it is set here, after all of them.
do $$
declare
  t record;
begin
  for t in
    select c.relname, g.tgname
    from pg_trigger g join pg_class c on c.oid = g.tgrelid
    where c.relnamespace = 'postbox'::regnamespace and not g.tgisinternal
  loop
    execute format('alter table postbox.%I enable always trigger %I', t.relname, t.tgname);
  end loop;
end $$;
