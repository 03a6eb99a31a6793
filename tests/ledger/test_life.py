"""A payment's whole life through the real workers and the sandbox: both hands' books meet, and clearing is zero."""

from __future__ import annotations

from typing import Any

import pytest

from app.model.actor import Actor, ActorType, Role
from app.services.checks import violations
from tests import factories
from tests.fixtures.sandbox import HANGS_UP, Sandbox
from tests.fixtures.worker import Hand
from tests.ledger.books import balances, books, drift


def lived(hand: Hand, **columns: Any) -> dict[str, Any]:
    """A card payment that went all the way, with nothing left to do."""
    payment = factories.payment(hand.connection, **{"method_token": "pm_card_visa", **columns})
    settled = hand.settle(payment["id"])
    hand.quiet()
    return settled


@pytest.mark.parametrize("currency, amount", [("usd", 2_000), ("jpy", 5_000), ("eur", 777)])
def test_a_settled_payment_is_available_to_its_merchant_and_clearing_is_zero(
    hand: Hand, currency: str, amount: int
) -> None:
    p = lived(hand, currency=currency, amount=amount)
    [line] = hand.connection.execute("select * from provider_transactions where payment_id = %s", [p["id"]])
    assert books(hand.connection, payment_id=p["id"]) == {
        "stripe:available": {currency: line["net"]}, "provider_fees": {currency: line["fee"]},
        "merchant:available": {currency: -amount},
    }  # fmt: skip
    assert balances(hand.connection, p["merchant_id"]) == {("merchant:available", currency): -amount}
    assert drift(hand.connection) == []
    reader = Actor(ActorType.OPERATOR, "ann", Role.OPERATOR)
    assert hand.runtime.database.transact(reader, lambda tx: violations(tx, quiesced=True)) == []


def test_the_books_of_a_payment_tell_whose_entry_each_is(hand: Hand) -> None:
    p = lived(hand)
    told = hand.connection.execute(
        "select e.kind, a.actor_id, a.causation_id is not null as caused from ledger_entries e"
        " join audit_log a on a.entity_id = e.id::text where e.payment_id = %s",
        [p["id"]],
    ).fetchall()
    assert {(row["kind"], row["actor_id"]) for row in told} >= {
        ("payment_credited", "credit_merchant"), ("fact_recorded", "post_fact"),
    }  # fmt: skip
    assert all(row["caused"] for row in told)


def test_a_payment_that_failed_or_was_canceled_has_no_books(hand: Hand) -> None:
    p = lived(hand, method_token="pm_card_chargeDeclined")
    assert (p["state"], books(hand.connection, payment_id=p["id"])) == ("failed", {})


def test_with_the_answer_lost_it_is_credited_once(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.fault(kind="timeout_after", method="POST", path="/v1/payment_intents/*/confirm", seconds=HANGS_UP)
    p = lived(hand)
    assert balances(hand.connection, p["merchant_id"]) == {("merchant:available", "usd"): -p["amount"]}
