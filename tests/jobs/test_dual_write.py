"""R3, the dual write: a crash between the charge and its COMMIT, under the product and under the design it replaces."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import stripe

from app.config import SANDBOX_API_KEY
from app.model.outcome import Reply
from app.providers.protocol import ProviderRequest, Step
from tests import factories
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.worker import Hand


class Crash(BaseException):
    """The process is gone: nothing catches it, nothing is written after it."""


def charge_inside_the_transaction(conn: factories.Connection, client: stripe.StripeClient, order: str) -> None:
    """The old design: one request inserts, charges under a fresh key, and dies before COMMIT."""
    with conn.transaction(force_rollback=True):
        factories.payment(conn, reference=order)
        intent: dict[str, Any] = {
            "amount": factories.AMOUNT,
            "currency": factories.CURRENCY,
            "allowed_payment_method_types": ["card"],
            "payment_method": "pm_card_visa",
            "confirm": True,
            "return_url": factories.RETURN_URL,
            "metadata": {"order": order},
        }
        client.v1.payment_intents.create(intent, {"idempotency_key": str(uuid.uuid4())})  # type: ignore[arg-type]


def test_r3_a_charge_inside_the_transaction_is_lost_by_a_crash_and_made_again(hand: Hand, sandbox: Sandbox) -> None:
    client = stripe.StripeClient(SANDBOX_API_KEY, base_addresses={"api": sandbox.url}, max_network_retries=0)
    for _ in ("the request", "the client's retry"):
        charge_inside_the_transaction(hand.connection, client, "order-1")
    assert hand.connection.execute("select count(*) as n from payments").fetchone() == {"n": 0}
    assert sandbox.ledger(**{"metadata.order": "order-1"})["summary"]["captured_charges"] == 2


@pytest.mark.parametrize("step", [Step.CREATE, Step.CONFIRM])
def test_r3_a_crash_after_the_provider_acted_charges_once_because_the_intent_was_committed(
    hand: Hand, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    payment = factories.payment(hand.connection, method_token="pm_card_visa")
    send = hand.runtime.provider.send

    def act_and_crash(request: ProviderRequest) -> Reply:
        reply = send(request)
        if request.step is step:
            raise Crash
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(hand.runtime.provider, "send", act_and_crash)
        with pytest.raises(Crash):
            hand.run_all()
    assert hand.payment(payment["id"])["state"] == "submitting"
    assert hand.settle(payment["id"])["state"] == "settled"
    assert sandbox.ledger(payment_id=str(payment["id"]))["summary"]["captured_charges"] == 1
