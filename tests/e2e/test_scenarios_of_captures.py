"""The acceptance scenarios about captures, cancels and what expires, by their number in the domain's list."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.config import Timing
from app.errors import IllegalTransition, OperationOpen
from tests import factories
from tests.e2e.scenario import DAY, ask, authorized, intents, invariants_hold, pay, receive, summary
from tests.fixtures.sandbox import HANGS_UP, Sandbox
from tests.fixtures.worker import Hand

__all__ = ["invariants_hold"]


@pytest.mark.parametrize(("first", "second"), [("capture", "cancel"), ("cancel", "capture")])
def test_scenario_24_of_a_capture_and_a_cancel_exactly_one_wins(
    hand: Hand, sandbox: Sandbox, first: str, second: str
) -> None:
    payment = authorized(hand)
    given = {"capture": {"amount": None}, "cancel": {"reason": "requested"}}
    ask(hand, payment, first, **given[first])
    with pytest.raises(OperationOpen):
        ask(hand, payment, second, **given[second])
    end = hand.settle(payment["id"])
    assert end["state"] == {"capture": "settled", "cancel": "canceled"}[first]
    assert summary(sandbox, payment)["captured_charges"] == (1 if first == "capture" else 0)
    with pytest.raises(IllegalTransition):
        ask(hand, payment, second, **given[second])


def test_scenario_25_what_is_canceled_while_initiated_is_never_sent(hand: Hand, sandbox: Sandbox) -> None:
    payment = pay(hand)
    canceled, operation = ask(hand, payment, "cancel", reason="requested")
    assert (canceled["state"], operation) == ("canceled", None)
    hand.quiet()
    assert hand.calls() == []
    assert intents(sandbox, payment) == []
    assert hand.payment(payment["id"])["cancel_reason"] == "requested"


def test_scenario_25_what_a_worker_has_claimed_is_not_canceled_beside_it(hand: Hand, sandbox: Sandbox) -> None:
    payment = pay(hand)
    refused: list[Exception] = []

    def cancel() -> None:
        try:
            ask(hand, payment, "cancel", reason="requested")
        except IllegalTransition as error:
            refused.append(error)

    hand.after_send("create", cancel)
    assert hand.settle(payment["id"])["state"] == "settled"
    assert len(refused) == 1


def test_scenario_26_an_authorization_that_expires_is_canceled_and_took_nothing(hand: Hand, sandbox: Sandbox) -> None:
    payment = authorized(hand)
    sandbox.advance(8 * DAY)
    receive(hand, "charge.expired", payment["provider_ref"], payment=payment)
    end = hand.reach(payment["id"], "canceled")
    assert (end["cancel_reason"], end["amount_captured"]) == ("authorization_expired", 0)
    hand.quiet()
    for book in ("provider_transactions", "ledger_lines"):
        assert hand.connection.execute(f"select from {book}").fetchall() == []


def test_scenario_26_a_capture_too_late_ends_canceled_without_a_dead_letter(hand: Hand, sandbox: Sandbox) -> None:
    payment = authorized(hand)
    sandbox.advance(8 * DAY)
    ask(hand, payment, "capture", amount=None)
    assert hand.settle(payment["id"])["state"] == "canceled"
    assert not hand.dead()
    [operation] = hand.connection.execute("select * from operations where kind = 'capture'").fetchall()
    assert (operation["status"], operation["outcome"]) == ("failed", "overtaken")


def test_scenario_27_capturing_600_of_1000_takes_600_in_one_line(hand: Hand, sandbox: Sandbox) -> None:
    payment = authorized(hand)
    ask(hand, payment, "capture", amount=600)
    end = hand.settle(payment["id"])
    assert (end["state"], end["amount"], end["amount_captured"]) == ("settled", 1_000, 600)
    [line] = hand.connection.execute("select * from provider_transactions").fetchall()
    assert (line["kind"], line["gross"], line["net"]) == ("charge", 600, 600 - line["fee"])
    assert summary(sandbox, payment)["captured"] == {"usd": 600}


@pytest.mark.parametrize("verb", ["capture", "cancel"])
@pytest.mark.parametrize(
    "kind", ["timeout_before", "timeout_after", "error_500_saved", "error_500_after", "reset_mid_body"]
)
def test_a_capture_or_cancel_without_an_answer_is_resolved_by_asking(
    hand: Hand, sandbox: Sandbox, verb: str, kind: str
) -> None:
    payment = authorized(hand)
    sandbox.fault(kind=kind, method="POST", path=f"/v1/payment_intents/*/{verb}", seconds=HANGS_UP)
    ask(hand, payment, verb, **({"amount": 700} if verb == "capture" else {"reason": "duplicate"}))
    end = hand.settle(payment["id"])
    assert end["state"] == {"capture": "settled", "cancel": "canceled"}[verb]
    assert end["amount_captured"] == (700 if verb == "capture" else 0)
    assert not hand.dead()


def test_scenario_28_who_never_comes_back_is_canceled_at_the_provider_first(hand: Hand, sandbox: Sandbox) -> None:
    hand.retime(action_window=Timing().action_window)
    payment = pay(hand, method_token="pm_card_threeDSecure2Required")
    waiting = hand.reach(payment["id"], "requires_action")
    assert waiting["next_action_url"]
    [entered] = hand.connection.execute("select occurred_at from events where topic = 'payment.requires_action'")
    left = waiting["action_expires_at"] - entered["occurred_at"]
    assert abs(left - timedelta(days=1)) < timedelta(seconds=1)
    with factories.acting(hand.connection, "worker"):
        hand.connection.execute("update payments set action_expires_at = clock_timestamp()")
    end = hand.settle(payment["id"])
    assert (end["state"], end["cancel_reason"]) == ("canceled", "action_expired")
    [intent] = intents(sandbox, payment)
    assert intent["status"] == "canceled"
    with pytest.raises(AssertionError, match="4"):
        sandbox.control("POST", f"payment_intents/{intent['payment_intent']}/authenticate", outcome="success")
