"""Why a payment was canceled: our reason where our cancel did it or may have, the provider's where it did not."""

from __future__ import annotations

from typing import Any

import requests

from app.config import SANDBOX_API_KEY
from app.model.operation import cancel_params
from tests import factories
from tests.fixtures.sandbox import HANGS_UP, Sandbox
from tests.fixtures.worker import Hand


def authorized(hand: Hand) -> dict[str, Any]:
    payment = factories.payment(hand.connection, capture_method="manual")
    return hand.reach(payment["id"], "authorized")


def cancel(hand: Hand, payment: dict[str, Any]) -> dict[str, Any]:
    """A cancel of ours for a reason that the provider has no word for."""
    params = cancel_params(payment, "op", reason="action_expired")
    return factories.operation(hand.connection, payment, "cancel", reason="action_expired", params=params)


def cancel_in_the_dashboard(hand: Hand, sandbox: Sandbox, payment: dict[str, Any]) -> None:
    url = f"{sandbox.url}/v1/payment_intents/{payment['provider_ref']}/cancel"
    answer = requests.post(url, {"cancellation_reason": "fraudulent"}, auth=(SANDBOX_API_KEY, ""), timeout=10)
    assert answer.ok, answer.text
    with factories.acting(hand.connection, "worker"):
        factories.update_payment(hand.connection, payment, observe_at="now")


def test_a_cancel_of_ours_that_failed_explains_no_cancellation(hand: Hand, sandbox: Sandbox) -> None:
    payment = authorized(hand)
    ours = cancel(hand, payment)
    with factories.acting(hand.connection, "worker"):
        hand.connection.execute(
            "update operations set status = 'failed', outcome = 'refused', finished_at = 'now' where id = %s",
            [ours["id"]],
        )
    cancel_in_the_dashboard(hand, sandbox, payment)
    end = hand.settle(payment["id"])
    assert (end["state"], end["cancel_reason"]) == ("canceled", "fraudulent")


def test_a_cancel_of_ours_that_took_effect_explains_it_in_our_words(hand: Hand) -> None:
    payment = authorized(hand)
    cancel(hand, payment)
    end = hand.settle(payment["id"])
    assert (end["state"], end["cancel_reason"]) == ("canceled", "action_expired")


def test_a_cancel_of_ours_that_nobody_has_an_answer_to_may_have_done_it(hand: Hand, sandbox: Sandbox) -> None:
    payment = authorized(hand)
    ours = cancel(hand, payment)
    sandbox.fault(kind="timeout_after", method="POST", path="/v1/payment_intents/*/cancel", seconds=HANGS_UP)
    end = hand.settle(payment["id"])
    assert (end["state"], end["cancel_reason"]) == ("canceled", "action_expired")
    assert [call["outcome"] for call in hand.calls(operation_id=ours["id"])] == ["ambiguous", "ok"]
