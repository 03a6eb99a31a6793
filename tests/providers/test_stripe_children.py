"""Refunds and disputes with Stripe: what is sent, what is read, and what is never believed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from app.errors import Invalid
from app.model.children import plan_dispute
from app.model.snapshot import DisputeStatus, RefundStatus
from app.providers.protocol import Step
from app.providers.stripe.children import DISPUTE_STATUS, read_dispute, read_refund
from app.providers.stripe.fields import Unreadable
from app.providers.stripe.requests import build_request

IDS = {name: str(uuid.uuid4()) for name in ("payment_id", "merchant_id", "operation_id", "refund_id")}
WANTED = {"amount": 600, "currency": "usd", "reason": "requested", "metadata": IDS}
THEN = 1_785_000_000


def line(ref: str, amount: int, *, created: int = THEN, fee: int = 0) -> dict[str, Any]:
    return {
        "id": ref, "object": "balance_transaction", "amount": amount, "fee": fee, "net": amount - fee,
        "currency": "usd", "reporting_category": "x", "source": "re_1", "status": "pending", "created": created,
        "available_on": created,
    }  # fmt: skip


def refund(**changes: Any) -> dict[str, Any]:
    return {
        "id": "re_1", "object": "refund", "status": "succeeded", "amount": 600, "currency": "usd", "created": THEN,
        "payment_intent": "pi_1", "metadata": IDS, "balance_transaction": line("txn_1", -600),
    } | changes  # fmt: skip


def dispute(**changes: Any) -> dict[str, Any]:
    return {
        "id": "du_1", "object": "dispute", "status": "needs_response", "amount": 600, "currency": "usd",
        "created": THEN, "payment_intent": "pi_1", "reason": "fraudulent", "evidence_details": {"due_by": THEN + 9},
        "balance_transactions": [line("txn_2", 600, created=THEN + 5), line("txn_1", -600, fee=1_500)],
    } | changes  # fmt: skip


def test_a_refund_is_asked_for_with_our_ids_and_answered_with_its_money_lines() -> None:
    request = build_request(Step.REFUND, WANTED, ref="pi_1", key="k")
    assert (request.method, request.path, request.idempotency_key) == ("POST", "/v1/refunds", "k")
    assert request.params == {
        "payment_intent": "pi_1", "amount": 600, "reason": "requested_by_customer", "metadata": IDS,
        "expand": ["balance_transaction", "failure_balance_transaction"],
    }  # fmt: skip
    assert request.redacted == request.params


@pytest.mark.parametrize(
    "change", [{"amount": 0}, {"reason": "whim"}, {"metadata": {n: v for n, v in IDS.items() if n != "refund_id"}}]
)
def test_a_refund_without_what_it_needs_is_not_sent(change: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        build_request(Step.REFUND, WANTED | change, ref="pi_1", key="k")
    with pytest.raises(Invalid):
        build_request(Step.REFUND, WANTED, ref=None, key="k")


@pytest.mark.parametrize("step, path", [(Step.LIST_REFUNDS, "/v1/refunds"), (Step.LIST_DISPUTES, "/v1/disputes")])
def test_a_payments_children_are_asked_for_by_its_reference_page_by_page(step: Step, path: str) -> None:
    request = build_request(step, {"starting_after": "re_9"}, ref="pi_1", key=None)
    assert (request.method, request.path, request.params["payment_intent"]) == ("GET", path, "pi_1")
    assert (request.params["limit"], request.params["starting_after"]) == (100, "re_9")


def test_a_refund_is_read_with_our_ids_and_both_of_its_lines() -> None:
    seen = read_refund(
        refund(status="failed", failure_reason="lost_or_stolen_card", failure_balance_transaction=line("txn_2", 600)),
        payment_ref="pi_1",
    )
    assert (seen.status, seen.failure_reason) == (RefundStatus.FAILED, "lost_or_stolen_card")
    assert (seen.refund_id, seen.operation_id) == (IDS["refund_id"], IDS["operation_id"])
    assert seen.fact is not None and seen.returned is not None
    assert (seen.fact.gross, seen.returned.gross) == (-600, 600)


@pytest.mark.parametrize("status", ["requires_action", "teleported"])
def test_a_refund_in_a_status_that_decides_nothing_is_pending_under_its_own_word(status: str) -> None:
    seen = read_refund(refund(status=status), payment_ref="pi_1")
    assert (seen.status, seen.provider_status) == (RefundStatus.PENDING, status)


def test_a_dispute_is_read_with_its_lines_oldest_first() -> None:
    seen = read_dispute(dispute(), payment_ref="pi_1")
    assert (seen.status, seen.amount, [fact.gross for fact in seen.facts]) == (DisputeStatus.OPEN, 600, [-600, 600])
    assert seen.evidence_due_at == datetime.fromtimestamp(THEN + 9, UTC)
    assert not seen.appealed


@pytest.mark.parametrize("taken, back", [("txn_1", "txn_2"), ("txn_2", "txn_1")])
def test_what_is_withdrawn_and_brought_back_in_one_second_is_withdrawn_first(taken: str, back: str) -> None:
    """Their references say nothing about which came first."""
    seen = read_dispute(
        dispute(status="won", balance_transactions=[line(back, 600), line(taken, -600)]), payment_ref="pi_1"
    )
    assert [fact.gross for fact in seen.facts] == [-600, 600]
    assert plan_dispute(None, seen, known=frozenset())[-1].withdrawn == 0


@pytest.mark.parametrize("status", [*DISPUTE_STATUS, "teleported"])
def test_every_status_of_a_dispute_is_read_and_one_that_is_new_is_no_error(status: str) -> None:
    seen = read_dispute(dispute(status=status), payment_ref="pi_1")
    assert (seen.status, seen.provider_status) == (DISPUTE_STATUS.get(status), status)
    assert seen.appealed == status.startswith("appeal")


@pytest.mark.parametrize(
    "body", [refund(payment_intent="pi_2"), refund(amount="600"), refund(balance_transaction="txn_1"), refund(id=None)]
)
def test_a_refund_of_something_else_or_of_no_known_shape_is_not_believed(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read_refund(body, payment_ref="pi_1")


@pytest.mark.parametrize(
    "body", [dispute(payment_intent="pi_2"), dispute(balance_transactions=None), dispute(status=1)]
)
def test_neither_is_such_a_dispute(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read_dispute(body, payment_ref="pi_1")
