"""A further idempotency key rests on proof; once it exists it is sent again as the first would be."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.fixtures.sandbox import HANGS_UP, Sandbox
from tests.fixtures.worker import Hand

STEPS = {"create": "/v1/payment_intents", "confirm": "/v1/payment_intents/*/confirm"}


def keys(hand: Hand, step: str) -> list[tuple[str, bool]]:
    rows = hand.connection.execute(
        "select idempotency_key, proof_call_id from operation_attempts where step = %s order by n", [step]
    ).fetchall()
    return [(row["idempotency_key"].partition(":")[2], row["proof_call_id"] is not None) for row in rows]


@pytest.fixture
def payment(hand: Hand) -> dict[str, Any]:
    return factories.payment(hand.connection, method_token="pm_card_visa")


@pytest.mark.parametrize("step", STEPS)
def test_scenario_09_a_saved_500_is_replayed_and_then_another_key_goes_with_the_proof(
    hand: Hand, sandbox: Sandbox, payment: dict[str, Any], step: str
) -> None:
    """The provider keeps a 500 under our key and replays it."""
    sandbox.fault(kind="error_500_saved", method="POST", path=STEPS[step])
    assert hand.settle(payment["id"])["state"] == "settled"
    assert keys(hand, step) == [(f"{step}:1", False), (f"{step}:2", True)]
    assert sandbox.ledger(payment_id=str(payment["id"]))["summary"]["captured_charges"] == 1
    assert not hand.dead()


@pytest.mark.parametrize("kind", ["rate_limit_429", "timeout_before", "timeout_after", "error_500_before"])
@pytest.mark.parametrize("step", STEPS)
def test_a_further_key_that_meets_trouble_too_is_sent_again(
    hand: Hand, sandbox: Sandbox, payment: dict[str, Any], step: str, kind: str
) -> None:
    sandbox.fault(kind="error_500_saved", method="POST", path=STEPS[step])
    sandbox.fault(kind=kind, method="POST", path=STEPS[step], key=f"*:{step}:2", seconds=HANGS_UP)
    assert hand.settle(payment["id"])["state"] == "settled"
    assert keys(hand, step) == [(f"{step}:1", False), (f"{step}:2", True)]
    assert sandbox.ledger(payment_id=str(payment["id"]))["summary"]["captured_charges"] == 1
    assert not hand.connection.execute("select from delivery_failures").fetchall()
