"""The acceptance scenarios about a payment on its way to the provider, by their number in the domain's list."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from jobs.runtime import open_runtime
from tests.e2e.scenario import (
    SPINE,
    circuit,
    first_intent,
    give_up_once,
    intents,
    invariants_hold,
    pay,
    receive,
    spine,
    summary,
)
from tests.fixtures.database import Clone
from tests.fixtures.sandbox import HANGS_UP, Sandbox
from tests.fixtures.worker import Hand

__all__ = ["invariants_hold"]


def test_scenario_07_a_confirm_that_times_out_but_succeeded_is_unknown_never_failed(
    hand: Hand, sandbox: Sandbox
) -> None:
    sandbox.fault(kind="timeout_after", method="POST", path="/v1/payment_intents/*/confirm", seconds=60)
    give_up_once(hand, "confirm", after=0.5)
    payment = pay(hand)
    assert hand.settle(payment["id"])["state"] == "settled"
    assert hand.calls(step="confirm")[0]["error_class"] == "ReadTimeout"
    topics = hand.topics(payment["id"])
    assert "payment.outcome_unknown" in topics
    assert "payment.failed" not in topics
    assert spine(hand, payment) == SPINE
    assert summary(sandbox, payment)["captured_charges"] == 1


def test_scenario_08_a_create_that_times_out_twice_leaves_one_chargeable_intent(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.fault(kind="timeout_after", method="POST", path="/v1/payment_intents", count=2, seconds=HANGS_UP)
    payment = pay(hand)
    assert hand.settle(payment["id"])["state"] == "settled"
    assert [intent["status"] for intent in intents(sandbox, payment)] == ["succeeded"]


@pytest.mark.parametrize("told", ["before", "after", "never"])
def test_scenario_08_an_orphan_of_a_create_that_was_saved_as_a_500_is_canceled(
    hand: Hand, sandbox: Sandbox, told: str
) -> None:
    """The first object exists, its 500 is replayed for a day, the second is the one that is paid."""
    sandbox.fault(kind="error_500_after", method="POST", path="/v1/payment_intents")
    payment = pay(hand)
    if told == "before":
        hand.after_send(
            "create",
            lambda: receive(hand, "payment_intent.created", first_intent(sandbox, payment), payment=payment),
        )
    hand.settle(payment["id"])
    if told == "after":
        receive(hand, "payment_intent.created", orphan(sandbox, payment), payment=payment)
    hand.quiet()
    assert sorted(intent["status"] for intent in intents(sandbox, payment)) == ["canceled", "succeeded"]
    assert hand.payment(payment["id"])["state"] == "settled"
    assert summary(sandbox, payment)["captured_charges"] == 1


def orphan(sandbox: Sandbox, payment: dict[str, Any]) -> str:
    [left] = [i["payment_intent"] for i in intents(sandbox, payment) if i["status"] != "succeeded"]
    return str(left)


def test_scenario_10_twenty_429s_are_no_dead_letter_and_one_charge(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.fault(kind="rate_limit_429", method="POST", count=20)
    payment = pay(hand)
    assert hand.settle(payment["id"])["state"] == "settled"
    delivery = hand.connection.execute("select * from deliveries where handler = 'submit_payment'").fetchone()
    assert (delivery["failures"], delivery["deferrals"]) == (0, 20)
    assert len(hand.calls(outcome="not_executed")) == 20
    assert summary(sandbox, payment)["captured_charges"] == 1


def asked_while_open(hand: Hand, *, answers: int) -> list[dict[str, Any]]:
    """Calls that did not wait, once so many answers had opened the circuit: one probe may go each time."""
    calls, wait = hand.calls(), timedelta(seconds=hand.runtime.timing.circuit_open)
    assert len(calls) >= answers
    return [probe for last, probe in pairwise(calls[answers - 1 :]) if probe["sent_at"] < last["sent_at"] + wait]


def test_scenario_11_a_revoked_key_opens_the_circuit_and_fails_nothing(
    hand: Hand, sandbox: Sandbox, database: Clone
) -> None:
    stranger = open_runtime(replace(hand.runtime.settings, stripe_api_key="sk_test_revoked"))
    try:
        other = Hand(stranger, database)
        payments = [pay(hand) for _ in range(6)]
        other.run_all()
        assert (circuit(hand)["state"], circuit(hand)["reason"]) == ("open", "unauthenticated")
        other.until(lambda: len(other.calls()) >= 3)
        assert asked_while_open(other, answers=1) == [], "one answer is enough: nobody else asks while it is open"
        assert {other.payment(p["id"])["state"] for p in payments} <= {"initiated", "submitting"}
        assert not other.dead()
        assert not hand.connection.execute("select from delivery_failures").fetchall()
    finally:
        stranger.close()
    for payment in payments:
        assert hand.settle(payment["id"])["state"] == "settled"
    assert circuit(hand)["state"] == "closed"


def test_five_calls_without_an_answer_open_the_circuit_and_one_probe_closes_it(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.fault(kind="error_500_before", count=8)
    payments = [pay(hand) for _ in range(4)]
    hand.run_all()
    assert circuit(hand)["state"] == "open"
    assert asked_while_open(hand, answers=5) == []
    for payment in payments:
        assert hand.settle(payment["id"])["state"] == "settled"
    assert circuit(hand)["state"] == "closed"
    assert not hand.dead()
