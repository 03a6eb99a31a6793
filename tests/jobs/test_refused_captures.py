"""A capture that the provider refuses says nothing about the hold: that is asked for, and decides."""

from __future__ import annotations

from typing import Any

import pytest

from app.model.operation import capture_params
from tests import factories
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.worker import Hand


@pytest.fixture
def payment(hand: Hand) -> dict[str, Any]:
    """10.00 that are held, and a capture of more, which only a database without its rule lets anybody ask for."""
    held = hand.reach(factories.payment(hand.connection, capture_method="manual", amount=1_000)["id"], "authorized")
    hand.connection.execute("alter table operations disable trigger operations_200_intent")
    factories.operation(hand.connection, held, "capture", params=capture_params(held, "op", amount=1_001))
    hand.connection.execute("alter table operations enable always trigger operations_200_intent")
    return held


def asked(hand: Hand) -> list[tuple[str, str]]:
    return [(call["step"], call["outcome"]) for call in hand.calls() if call["step"] in ("capture", "fetch")]


def test_where_the_hold_stands_the_payment_is_authorized_and_another_capture_may_follow(
    hand: Hand, sandbox: Sandbox, payment: dict[str, Any]
) -> None:
    hand.quiet()
    assert asked(hand) == [("capture", "refused"), ("fetch", "ok")]
    [refused] = hand.connection.execute("select status, outcome from operations where kind = 'capture'").fetchall()
    assert refused == {"status": "failed", "outcome": "refused"}
    assert hand.payment(payment["id"])["state"] == "authorized"
    factories.operation(hand.connection, payment, "capture", amount=600)
    assert hand.settle(payment["id"])["amount_captured"] == 600
    assert sandbox.ledger(payment_id=str(payment["id"]))["summary"]["captured"] == {"usd": 600}


def test_where_the_bank_takes_its_word_back_before_the_capture_the_payment_fails_here(
    hand: Hand, sandbox: Sandbox
) -> None:
    held = hand.reach(factories.payment(hand.connection, capture_method="manual")["id"], "authorized")
    sandbox.control("POST", f"payment_intents/{held['provider_ref']}/take_back")
    factories.operation(hand.connection, held, "capture")
    end = hand.settle(held["id"])
    assert asked(hand)[:2] == [("capture", "refused"), ("fetch", "ok")]
    assert (end["state"], end["failure_code"]) == ("failed", "generic_decline")
    assert hand.topics(held["id"])[-2:] == ["payment.authorized", "payment.failed"]
    assert sandbox.ledger(payment_id=str(held["id"]))["summary"]["captured"] == {}


def test_a_capture_of_what_the_provider_does_not_know_stays_refused(hand: Hand) -> None:
    unknown_there = factories.payment(hand.connection, "authorized")
    hand.connection.execute("update deliveries set status = 'done', done_at = 'now', job_id = null")
    factories.operation(hand.connection, unknown_there, "capture")
    hand.run_all()
    assert asked(hand) == [("capture", "refused"), ("fetch", "refused")]
    assert hand.payment(unknown_there["id"])["state"] == "authorized"
