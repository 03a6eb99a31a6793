"""A further idempotency key rests on proof; once it exists it is sent again as the first would be."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.fixtures.sandbox import HANGS_UP, Sandbox
from tests.fixtures.worker import Hand

# Longer than a test: what waits so long waits until the test says otherwise.
WAITS = 3_600.0
STEPS = {"create": "/v1/payment_intents", "confirm": "/v1/payment_intents/*/confirm"}


def keys(hand: Hand, step: str) -> list[tuple[str, bool]]:
    rows = hand.connection.execute(
        "select idempotency_key, proof_call_id from operation_attempts where step = %s order by n", [step]
    ).fetchall()
    return [(row["idempotency_key"].partition(":")[2], row["proof_call_id"] is not None) for row in rows]


def age(hand: Hand) -> None:
    """A day goes by for every key that was sent: the provider may have forgotten it."""
    with hand.connection.transaction():
        hand.connection.execute("alter table operation_attempts disable trigger operation_attempts_200_append_only")
        hand.connection.execute("update operation_attempts set first_sent_at = first_sent_at - interval '24 hours'")
        hand.connection.execute(
            "alter table operation_attempts enable always trigger operation_attempts_200_append_only"
        )


def until_sent(hand: Hand, step: str, status: str) -> None:
    """Until this step was sent once, and its operation is as `status` says."""
    sent = (
        "select o.id from operations o where o.step = %s and o.status = %s and exists ("
        " select from operation_attempts a where a.operation_id = o.id and a.step = o.step)"
    )
    hand.until(lambda: hand.connection.execute(sent, [step, status]).fetchone())


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


# What leaves the operation unknown, and what leaves it pending: nothing was done, and nothing is known of it.
OPEN = {"timeout_before": "unknown", "conflict_409": "pending", "rate_limit_429": "pending"}


@pytest.mark.parametrize("kind", OPEN)
@pytest.mark.parametrize("step", STEPS)
def test_a_key_that_the_provider_may_have_forgotten_is_not_sent_again(
    hand: Hand, sandbox: Sandbox, payment: dict[str, Any], step: str, kind: str
) -> None:
    """Scenario 10's end: after a day another key goes, with the proof; what moves money is asked about before."""
    sandbox.fault(kind=kind, method="POST", path=STEPS[step], seconds=HANGS_UP)
    usual = hand.runtime
    hand.retime(not_executed_wait=WAITS, resolve_schedule=(WAITS,))
    until_sent(hand, step, OPEN[kind])
    age(hand)
    hand.runtime = usual
    hand.connection.execute("update deliveries set due_at = now() where status = 'pending'")
    assert hand.settle(payment["id"])["state"] == "settled"
    assert keys(hand, step) == [(f"{step}:1", False), (f"{step}:2", True)]
    calls = [call["step"] for call in hand.calls() if call["step"] in (step, "fetch")]
    assert calls[:3] == [step, "fetch", step] if step == "confirm" else calls[:2] == [step, step]
    assert sandbox.ledger(payment_id=str(payment["id"]))["summary"]["captured_charges"] == 1
    assert not hand.dead()
