"""Each CHECK of a payment and of its evidence, hit once and by its name."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.factories import Connection
from tests.sql.refusal import answer

MINE = " where merchant_id = %(merchant_id)s and id = %(id)s"

# state of the payment -> what the worker writes -> the sentence it breaks
BROKEN = [
    ("confirmed", "amount_captured = amount + 1", "payments_captures_at_most_the_amount"),
    ("submitted", "amount_authorized = 0", "payments_authorizes_something"),
    ("refunded", "amount_refunded = -1, state = 'confirmed'", "payments_refunded_is_not_negative"),
    ("confirmed", "amount_refunded = amount", "payments_state_follows_the_facts"),
    ("confirmed", "amount_disputed = 1", "payments_state_follows_the_facts"),
    ("confirmed", "amount_lost = -1", "payments_sums_are_not_negative"),
    ("submitted", "confirmed_at = now()", "payments_confirmed_at_follows_the_state"),
    ("submitting", "submitted_at = now(), provider_ref = 'pi_x'", "payments_submitted_at_follows_the_state"),
    ("failed", "settled_at = now()", "payments_settled_only_when_confirmed"),
    ("submitted", "state = 'confirmed'", "payments_confirmed_has_captured"),
    ("submitting", "state = 'submitted'", "payments_provider_ref_precedes_submitted"),
    ("submitted", "state = 'failed'", "payments_failure_code_iff_failed"),
    ("submitted", "failure_code = 'x'", "payments_failure_code_iff_failed"),
    ("submitted", "state = 'canceled'", "payments_cancel_reason_iff_canceled"),
    ("submitted", "cancel_reason = 'requested'", "payments_cancel_reason_iff_canceled"),
    ("canceled", "cancel_reason = 'whim'", "payments_cancel_reason_is_known"),
    ("submitted", "state = 'requires_action'", "payments_next_action_iff_required"),
    ("submitted", "next_action_type = 'x'", "payments_next_action_iff_required"),
    ("submitted", "reference = repeat('x', 201)", "payments_texts_are_bounded"),
]


@pytest.mark.parametrize("state, change, sentence", BROKEN)
def test_the_facts_of_a_payment_agree_with_its_state(conn: Connection, state: str, change: str, sentence: str) -> None:
    p = factories.payment(conn, state)
    assert answer(conn, f"update payments set {change}" + MINE, p) == sentence


@pytest.mark.parametrize(
    "column, value, sentence",
    [
        ("amount", 0, "payments_amount_is_positive"),
        ("amount", 2**53, "payments_amount_is_positive"),
        ("method", "cash", "payments_method_is_known"),
        ("capture_method", "later", "payments_capture_method_is_known"),
        ("currency", "xxx", "payments_provider_currency_fkey"),
        ("retry_of", "0198c0de-0000-7000-8000-000000000000", "payments_retry_of_is_the_merchants_own"),
    ],
)
def test_a_payment_is_refused_when_it_is_created(conn: Connection, column: str, value: Any, sentence: str) -> None:
    row = {
        "merchant_id": factories.merchant(conn)["id"], "amount": 1000, "currency": "usd", "provider": "stripe",
        "provider_account": "default", "method": "card", "method_token": "pm_1", column: value,
    }  # fmt: skip
    names = ", ".join(row)
    values = ", ".join(f"%({name})s" for name in row)
    statement = f"insert into payments ({names}) values ({values})"
    assert answer(conn, statement, row, actor="api", merchant_id=row["merchant_id"]) == sentence


def test_a_reference_of_the_provider_belongs_to_one_payment(conn: Connection) -> None:
    p, other = factories.payment(conn, "submitted"), factories.payment(conn, "submitting")
    statement = f"update payments set provider_ref = '{p['provider_ref']}'" + MINE
    assert answer(conn, statement, other) == "payments_provider_ref_is_global"


@pytest.mark.parametrize(
    "change, sentence",
    [
        ("status = 'in_flight'", "operations_leased_iff_in_flight"),
        ("lease_token = gen_random_uuid(), lease_expires_at = now()", "operations_leased_iff_in_flight"),
        ("finished_at = now()", "operations_finished_iff_final"),
        ("outcome = 'ok'", "operations_outcome_iff_final"),
        ("amount = 0", "operations_amount_is_positive"),
        ("attempt = 101", "operations_attempt_is_bounded"),
        ("status = 'lost'", "operations_status_is_known"),
    ],
)
def test_the_columns_of_an_operation_agree(conn: Connection, change: str, sentence: str) -> None:
    op = factories.operation(conn, factories.payment(conn, "authorized"), "capture")
    assert answer(conn, f"update operations set {change}" + MINE, op) == sentence


@pytest.mark.parametrize(
    "change, sentence",
    [
        ("status = 'done'", "deliveries_done_at_iff_done"),
        ("status = 'done', done_at = now()", "deliveries_job_only_while_pending"),
        ("status = 'dead', job_id = null, dead_at = now()", "deliveries_dead_at_iff_dead"),
        ("status = 'dead', job_id = null, dead_at = now(), dead_reason = 'x'", "deliveries_dead_reason_is_known"),
        ("status = 'lost', job_id = null", "deliveries_status_is_known"),
    ],
)
def test_the_columns_of_a_delivery_agree(conn: Connection, change: str, sentence: str) -> None:
    p = factories.payment(conn)
    assert answer(conn, f"update deliveries set {change} where payment_id = %(id)s", p) == sentence


def test_the_net_of_a_money_line_is_its_gross_less_its_fee(conn: Connection) -> None:
    statement = (
        "insert into provider_transactions (merchant_id, provider, account, ref, kind, currency, gross, fee, net,"
        " status, available_on, created_at_provider)"
        " values (%(id)s, 'stripe', 'default', 'txn_1', 'charge', 'usd', 1000, 60, 941, 'pending', now(), now())"
    )
    refused = answer(conn, statement, factories.merchant(conn))
    assert refused == "provider_transactions_net_is_gross_less_fee"
