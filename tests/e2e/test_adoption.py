"""A payment that was over, paid at the provider all the same and then refunded or disputed there, is adopted whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from app.config import SANDBOX_API_KEY
from app.model.actor import Actor, ActorType, Role
from app.services import adoption
from tests import factories
from tests.fixtures.shop import Shop

Row = dict[str, Any]
OPERATOR = Actor(ActorType.OPERATOR, "ann", Role.OPERATOR, reason="the payer's bank says so")


def paid_after_it_failed(shop: Shop) -> Row:
    """Declined, and before we could close it somebody confirmed it at the provider with another card."""
    p = factories.payment(shop.hand.connection, method_token="pm_card_chargeDeclined", amount=1_000)
    while (p := shop.hand.payment(p["id"]))["state"] != "failed":
        assert shop.hand.run_one(), "there is something to do until it failed"
    answer = requests.post(
        f"{shop.sandbox.url}/v1/payment_intents/{p['provider_ref']}/confirm",
        data={"payment_method": "pm_card_bypassPending", "return_url": "https://shop.example/back"},
        headers={"Authorization": f"Bearer {SANDBOX_API_KEY}"},
        timeout=10,
    )
    assert answer.ok, answer.text
    return shop.after("payment_intent.succeeded", p)


def adopt(shop: Shop, p: Row) -> Row:
    factories.agree_to_adopt(shop.hand.connection, p)
    shop.hand.runtime.database.transact(OPERATOR, lambda tx: adoption.adopt(tx, p["id"], amount=1_000))
    shop.hand.until(lambda: shop.hand.payment(p["id"])["settled_at"])
    return shop.quiet(p)


@pytest.mark.parametrize(
    "happen, webhook, state, owed",
    [
        (lambda shop, p: shop.refund_in_dashboard(p, 400), "charge.refunded", "settled", 600),
        (lambda shop, p: shop.refund_in_dashboard(p, 1_000), "charge.refunded", "refunded", 0),
        (lambda shop, p: shop.dispute(p), "charge.dispute.created", "disputed", 0),
        (lambda shop, p: shop.decide(shop.dispute(p), "lose"), "charge.dispute.closed", "charged_back", 0),
    ],
    ids=["refunded in part", "refunded", "disputed", "lost"],
)
def test_what_happened_while_it_was_over_is_in_its_state_and_in_the_books(
    shop: Shop, happen: Callable[[Shop, Row], object], webhook: str, state: str, owed: int
) -> None:
    p = paid_after_it_failed(shop)
    assert (p["state"], p["money_after_final_at"] is not None) == ("failed", True)
    happen(shop, p)
    assert shop.after(webhook, p)["state"] == "failed"
    assert shop.owed(p) == 0
    end = adopt(shop, p)
    assert (end["state"], shop.owed(p)) == (state, owed)
    assert "clearing:stripe" not in shop.books(p) and "refunds_in_flight" not in shop.books(p)
