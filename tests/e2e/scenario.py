"""What the acceptance scenarios share: how a payment is made, asked for and looked at, and what holds after each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.model.actor import Actor, ActorType, Role
from app.services import requests as wishes
from app.services import webhooks
from app.services.authentication import Caller
from jobs.runtime import stripe_provider
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.told import about, told
from tests.fixtures.worker import Hand
from tests.jobs.processes import violations_of

SPINE = ["payment.initiated", "payment.provider_submitted", "payment.confirmed", "payment.settled"]
DAY = 86_400.0


@pytest.fixture(autouse=True)
def invariants_hold(hand: Hand, database: Clone):
    """What `postbox check` looks at holds after every scenario."""
    yield
    assert [
        v for v in violations_of(database.url, quiesced=False) if v.invariant != "closed_payments_hold_no_money"
    ] == []


def pay(hand: Hand, **columns: Any) -> dict[str, Any]:
    return factories.payment(hand.connection, **{"method_token": "pm_card_visa", **columns})


def caller(payment: dict[str, Any]) -> Caller:
    return Caller(payment["merchant_id"], "key-1", livemode=False)


def ask(hand: Hand, payment: dict[str, Any], verb: str, **given: Any) -> Any:
    """What the API does for a capture or a cancel."""
    actor = Actor(ActorType.API, "key-1", Role.API)
    work = getattr(wishes, verb)
    return hand.runtime.database.transact(
        actor, lambda tx: work(tx, caller(payment), payment["id"], **given), merchant_id=str(payment["merchant_id"])
    )


def summary(sandbox: Sandbox, payment: dict[str, Any]) -> dict[str, Any]:
    return sandbox.ledger(payment_id=str(payment["id"]))["summary"]


def intents(sandbox: Sandbox, payment: dict[str, Any]) -> list[dict[str, Any]]:
    return sandbox.ledger(payment_id=str(payment["id"]))["payments"]


def spine(hand: Hand, payment: dict[str, Any]) -> list[str]:
    return [topic for topic in hand.topics(payment["id"]) if topic in SPINE]


def circuit(hand: Hand) -> dict[str, Any]:
    row = hand.connection.execute("select * from circuits").fetchone()
    assert row is not None
    return row


def receive(hand: Hand, type: str, ref: str, *, payment: dict[str, Any] | None = None, event_id: str = "evt_1") -> bool:
    """What the gateway does with a verified webhook."""
    row = hand.connection.execute("select clock_timestamp() as now").fetchone()
    assert row is not None
    event = told(
        event_id=event_id, type=type, object_id=ref, payment_ref=ref, created_at=row["now"],
        **(about(payment) if payment else {}),
    )  # fmt: skip
    return hand.runtime.database.transact(
        Actor(ActorType.API, "webhook:stripe/default", Role.API),
        lambda tx: webhooks.store(tx, event, body_sha256="0" * 64),
    )


def give_up_once(hand: Hand, step: str, *, after: float) -> None:
    """The first call of this step waits so many seconds for its answer, and not production's twenty."""
    settings, patient, done = hand.runtime.settings, hand.runtime.provider.send, []
    hasty = stripe_provider(replace(settings, timing=replace(settings.timing, provider_read=after)))

    def sent(request: Any) -> Any:
        if request.step != step or done:
            return patient(request)
        done.append(True)
        return hasty.send(request)

    hand.runtime.provider.send = sent  # type: ignore[method-assign]


def first_intent(sandbox: Sandbox, payment: dict[str, Any]) -> str:
    return str(intents(sandbox, payment)[0]["payment_intent"])


def of_webhook(hand: Hand) -> dict[str, Any]:
    row = hand.connection.execute(
        "select * from deliveries where handler = 'apply_webhook' order by created_at desc limit 1"
    ).fetchone()
    assert row is not None
    return row


def authorized(hand: Hand, **columns: Any) -> dict[str, Any]:
    payment = pay(hand, capture_method="manual", **columns)
    return hand.reach(payment["id"], "authorized")
