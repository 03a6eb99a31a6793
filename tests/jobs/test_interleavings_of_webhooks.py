"""What a webhook says has no influence: whichever it is, the same object is fetched and applied."""

from __future__ import annotations

from tests import factories
from tests.fixtures.worker import Hand

# Each is about the payment, and none is true.
LIES = (
    "payment_intent.created",
    "payment_intent.succeeded",
    "payment_intent.canceled",
    "charge.failed",
    "charge.expired",
)


def test_every_webhook_of_a_payment_leads_to_the_same_fetch_and_nothing_else(hand: Hand) -> None:
    payment = factories.payment(hand.connection, method_token="pm_card_visa", capture_method="manual")
    hand.reach(payment["id"], "authorized")
    hand.quiet()
    before, told = hand.payment(payment["id"]), hand.topics(payment["id"])
    known = len(hand.calls())
    for lie in LIES:
        factories.webhook(
            hand.connection, type=lie, object_id=before["provider_ref"], payment_ref=before["provider_ref"]
        )
    hand.quiet()
    after = hand.payment(payment["id"])
    # one fetch each, all the same, each applied as one observation
    fetches = hand.calls()[known:]
    assert len(fetches) == len(LIES)
    assert len({(call["step"], call["method"], call["path"], str(call["request"])) for call in fetches}) == 1
    assert after["observed_version"] == before["observed_version"] + len(LIES)
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"version", "observed_version", "updated_at", "observe_at"}
    assert hand.topics(payment["id"]) == told
