"""What is done to a database that is well, by invariant: each statement breaks exactly the one it stands under."""

from __future__ import annotations

AS_ANN = "select set_config('postbox.actor_type', 'system', false), set_config('postbox.actor_id', 'x', false)"
AS_OWNER = f"{AS_ANN}; set role postbox_owner"
LEDGER_POST = "select ledger_post(%(merchant_id)s, 'fact_recorded', 'test', '1', %(payment_id)s,"
LEDGER_OPEN = "; ".join(
    f"alter table {table} disable trigger user"
    for table in ("ledger_entries", "ledger_lines", "ledger_folds", "ledger_balances")
)


def forgotten(kind: str) -> str:
    """An entry of this kind that is gone with its lines and its audit entry."""
    ids = f"(select id from ledger_entries where kind = '{kind}')"
    return (
        f"delete from audit_log where entity_id in (select id::text from ledger_entries where kind = '{kind}');"
        f" delete from ledger_lines where entry_id in {ids}; delete from ledger_entries where kind = '{kind}'"
    )


# What only --quiesced allows no grace.
QUIESCED = ("dead_letters_are_handled", "clearing_is_zero", "discrepancies_are_what_is_found")
# What breaks -> the SQL a superuser breaks it with, triggers and foreign keys off. The names are the story's.
DAMAGES = {
    "audit_counts_every_version": [
        f"{AS_ANN}; select audit_write(%(merchant_id)s, 'payment.observed', 'payment', 'x', %(payment_id)s, 99,"
        f" '{{}}')",
        f"{AS_ANN}; select audit_write(%(merchant_id)s, 'payment.observed', 'payment', 'x', gen_random_uuid(),"
        f" 1, '{{}}')",
    ],
    "audit_tells_the_row": [
        "update payments set amount = amount + 1 where id = %(payment_id)s",
        "update payments set settled_at = settled_at + interval '1 microsecond' where id = %(payment_id)s",
        "update payments set metadata = '{\"who\": \"me\"}' where id = %(payment_id)s",
        "update payments set description = 'other' where id = %(payment_id)s",
    ],
    "audit_hashes_hold": [
        "update audit_log set reason = 'because' where payment_id = %(payment_id)s and payment_version = 2",
        "update audit_log set actor_id = 'somebody' where action = 'webhook.received'",
        "update audit_log set recorded_at = recorded_at + interval '1 microsecond' where payment_version = 2",
    ],
    "evidence_is_audited": [
        "delete from audit_log where action = 'provider_call.completed' and entity_id = %(confirm_id)s::text",
        "delete from audit_log where action = 'webhook.received'",
    ],
    "events_tell_the_history": [
        "with gone as (delete from deliveries where event_id in (select id from events where topic ="
        " 'payment.confirmed'))"
        " delete from events where topic = 'payment.confirmed'",
        "update events set payment_version = payment_version + 10 where topic = 'payment.provider_submitted'",
        "insert into events (merchant_id, topic, payment_id, payment_version, payload)"
        " values (%(merchant_id)s, 'payment.refunded', %(payment_id)s, 4, '{}')",
        "delete from payment_transitions where from_state = 'submitted' and to_state = 'confirmed'",
    ],
    "events_are_delivered_to_subscribers": [
        "delete from deliveries where handler = 'watch_settlement'",
        "insert into deliveries (merchant_id, event_id, handler, topic, lane, payment_id, status, done_at)"
        " select merchant_id, event_id, 'nobody', topic, lane, payment_id, 'done', done_at from deliveries"
        " where handler = 'submit_payment'",
        "update deliveries set payment_id = null where handler = 'watch_settlement'",
    ],
    "one_open_operation": [
        "drop index operations_one_open_per_payment;"
        " insert into operations (merchant_id, payment_id, kind, status, step, params, params_sha256)"
        " select merchant_id, payment_id, 'cancel', 'pending', 'cancel', '{}', 'x' from operations,"
        " generate_series(1, 2)",
    ],
    "leases_end": [
        "update operations set status = 'in_flight', outcome = null, finished_at = null, lease_token ="
        " gen_random_uuid(),"
        " lease_expires_at = clock_timestamp() - interval '1 hour'",
    ],
    "calls_end": [
        "update operations set status = 'unknown', outcome = null, finished_at = null;"
        " update provider_calls set finished_at = null, outcome = null, sent_at = clock_timestamp() - interval"
        " '1 hour'"
        " where step = 'confirm'; update provider_calls set sent_at = clock_timestamp() - interval '2 hours'"
        " where step = 'create';"
        " delete from audit_log where action = 'provider_call.completed' and entity_id in"
        " (select id::text from provider_calls where finished_at is null)",
    ],
    "keys_rise_only_with_proof": [
        "insert into operation_attempts (merchant_id, operation_id, step, n, idempotency_key, proof_call_id)"
        " select merchant_id, id, 'create', 2, id || ':create:2', gen_random_uuid() from operations",
        "delete from operation_attempts where step = 'confirm'",
    ],
    "deliveries_move": [
        "update deliveries set status = 'pending', done_at = null, due_at = clock_timestamp() - interval '1"
        " hour', job_id = 1"
        " where handler = 'watch_settlement'",
        "update deliveries set status = 'pending', done_at = null, due_at = clock_timestamp() - interval '1 hour'"
        " where handler = 'watch_settlement'",
    ],
    "ended_deliveries_hold_no_job": [
        "alter table deliveries drop constraint deliveries_job_only_while_pending;"
        " update deliveries set job_id = 7 where handler = 'watch_settlement'",
    ],
    "dead_letters_are_handled": [
        "update deliveries set status = 'dead', done_at = null, dead_at = clock_timestamp(), dead_reason = 'crash'"
        " where handler = 'watch_settlement'",
    ],
    "settled_means_available": [
        "update provider_transactions set status = 'pending'",
        "delete from provider_transactions",
    ],
    "captured_is_what_the_provider_took": [
        "update provider_transactions set gross = gross + 1, net = net + 1",
    ],
    "closed_payments_hold_no_money": [],
    "webhooks_became_events": [
        "with gone as (delete from deliveries where event_id in (select id from events where topic ="
        " 'webhook.received'))"
        " delete from events where topic = 'webhook.received'",
    ],
    "ledger_entries_sum_to_zero": [
        f"{LEDGER_OPEN}; insert into ledger_entries (merchant_id, kind, source_type, source_id)"
        " values (%(merchant_id)s, 'fact_recorded', 'test', '1')",
    ],
    "ledger_lines_are_as_audited": [
        f"{LEDGER_OPEN}; update ledger_lines l"
        " set amount = amount + case a.code when 'provider_fees' then 1 else -1 end"
        " from ledger_accounts a where a.id = l.account_id and a.code in ('provider_fees', 'stripe:available')",
        "delete from audit_log where entity_type = 'ledger_entry'",
    ],
    "ledger_balances_are_their_lines": [
        "update ledger_balances set amount = amount + 1",
        f"{LEDGER_OPEN}; delete from ledger_balances",
    ],
    "ledger_is_folded": [
        f"{LEDGER_OPEN}; insert into ledger_folds (merchant_id, account_id, currency, amount)"
        " select merchant_id, account_id, currency, 1 from ledger_balances",
    ],
    "clearing_is_zero": [
        f"{AS_OWNER}; {LEDGER_POST}"
        ' \'[{"account": "clearing:stripe", "currency": "usd", "amount": 1},'
        ' {"account": "provider_fees", "currency": "usd", "amount": -1}]\')',
    ],
    "credits_follow_the_state": [
        f"{LEDGER_OPEN}; delete from ledger_balances; {forgotten('payment_credited')}",
        f"{AS_OWNER}; {LEDGER_POST}"
        ' \'[{"account": "merchant:pending", "currency": "usd", "amount": 1},'
        ' {"account": "merchant:available", "currency": "usd", "amount": -1}]\'), ledger_close()',
    ],
    "facts_are_booked": [f"{LEDGER_OPEN}; {forgotten('fact_recorded')}"],
    "discrepancies_are_what_is_found": [
        "delete from reconcile_due; alter table provider_prices disable trigger user;"
        " insert into provider_prices values ('stripe', 'default', 'card', 'usd', 1, 0)",
        "delete from reconcile_due; alter table discrepancies disable trigger user;"
        " insert into discrepancies"
        " (merchant_id, type, severity, subject, payment_id, evidence_at, sla_due_at, detected_by)"
        " select merchant_id, 'stale_state', 'medium', 'payment/' || id, id, now(), now(), 'clock' from payments",
    ],
    "payouts_are_their_lines": [
        "alter table payouts disable trigger user;"
        " insert into payouts (merchant_id, provider, account, ref, status, currency, amount, created_at_provider,"
        " arrives_at, automatic, lines_read_at) select merchant_id, provider, account, 'po_1', 'in_transit', 'usd',"
        " 942, now(), now(), true, now() from provider_accounts where account = 'default';"
        " update provider_transactions set payout_ref = 'po_1'",
    ],
    "merchant_payouts_are_in_flight": [
        "alter table merchant_payouts disable trigger user;"
        " insert into merchant_payouts (merchant_id, currency, amount, requested_by, reason)"
        " values (%(merchant_id)s, 'usd', 1, 'x', 'x')",
    ],
    "idempotency_keys_hold_an_answer": ["update idempotency_keys set status = null, body = null"],
}  # fmt: skip

# The same for the invariants about refunds and disputes, on a payment that has one of each.
CHILD_DAMAGES = {
    "children_add_up": [
        "update disputes set amount_withdrawn = amount_withdrawn + 1",
        "update refunds set amount = amount - 1",
    ],
    "refunds_fit_what_was_captured": [
        "update refunds set amount = amount + 1000; update payments set amount_refunded = amount_refunded + 1000;"
        " update audit_log set body = jsonb_set(body::jsonb, '{after,amount_refunded}', '1400')::text"
        " where body::jsonb #>> '{after,amount_refunded}' = '400';"
        " update audit_log a set row_sha256 = audit_row_sha256(a)",
    ],
    "states_follow_the_facts": [
        "update payments set state = 'settled';"
        " update audit_log set body = jsonb_set(body::jsonb, '{after,state}', '\"settled\"')::text"
        " where body::jsonb #>> '{after,state}' = 'disputed' and entity_type = 'payment';"
        " update audit_log a set row_sha256 = audit_row_sha256(a)",
    ],
    "children_are_audited": [
        "delete from audit_log where entity_type = 'refund' and action = 'refund.succeeded'",
        "delete from audit_log where entity_type = 'dispute'",
    ],
    "refunds_follow_their_operations": [
        "insert into operations (merchant_id, payment_id, kind, status, step, amount, params, params_sha256,"
        " finished_at, outcome) values (%(merchant_id)s, %(payment_id)s, 'refund', 'succeeded', 'refund', 1, '{}', 'x',"
        " now(), 'ok');"
        " insert into refunds (merchant_id, payment_id, currency, amount, origin, operation_id, provider,"
        " provider_account, state, version, provider_ref) select merchant_id, payment_id, 'usd', 1, 'api', id,"
        " 'stripe', 'default', 'submitting', 0, null from operations where kind = 'refund';"
        " update payments set amount_refund_pending = 1",
    ],
    "refunds_in_flight_are_under_way": [f"{LEDGER_OPEN}; {forgotten('refund_paid')}"],
    "dispute_lines_are_booked": [f"{LEDGER_OPEN}; {forgotten('dispute_withdrawn')}"],
}  # fmt: skip
