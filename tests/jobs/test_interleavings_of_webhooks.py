"""What a webhook says has no influence: whichever it is, the object is fetched and applied, once for all that came.

One alone is not: that the object was created says which it is, and that is known.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.model.actor import ActorType
from app.services.deliveries import DeliveryKey
from jobs.handlers.apply_webhook import claim_webhook
from jobs.observe import Fetch, finish_fetches
from jobs.run import Run
from tests import factories
from tests.fixtures.worker import Hand

# Each is about the payment, and none is true.
LIES = (
    "payment_intent.processing",
    "payment_intent.succeeded",
    "payment_intent.canceled",
    "charge.failed",
    "charge.expired",
)
DISPUTED = "charge.dispute.updated"


class Told:
    """A payment that is authorized, about which webhooks come and nothing else happens."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand
        self.id = factories.payment(hand.connection, method_token="pm_card_visa", capture_method="manual")["id"]
        hand.reach(self.id, "authorized")
        hand.quiet()
        self.before = hand.payment(self.id)
        self.topics = hand.topics(self.id)
        self._known = len(hand.calls())

    def webhook(self, kind: str) -> Any:
        ref = self.before["provider_ref"]
        return factories.webhook(self.hand.connection, type=kind, object_id=ref, payment_ref=ref)

    def observations(self) -> list[dict[str, Any]]:
        return self.hand.calls()[self._known :]

    def claim(self) -> tuple[Run, Fetch | None]:
        """What another worker does up to its request, which it has not sent yet."""
        job = self.hand.connection.execute("select * from procrastinate_fetch_job_v2('{remote}', null)").fetchone()
        assert job is not None
        run = Run(self.hand.runtime, DeliveryKey(**job["args"]), job["id"], actor_type=ActorType.WEBHOOK)
        return run, run.begin(lambda tx: claim_webhook(run, tx))

    def waits(self) -> list[str]:
        return [row["deferred_for"] for row in self.hand.open_deliveries() if row["job_id"] is None]


@pytest.fixture
def told(hand: Hand) -> Told:
    return Told(hand)


def test_every_webhook_of_a_payment_leads_to_the_same_fetch_and_nothing_else(told: Told) -> None:
    for lie in LIES:
        told.webhook(lie)
        told.hand.quiet()
    # one fetch each, all the same, each applied as one observation
    made, after = told.observations(), told.hand.payment(told.id)
    assert len(made) == len(LIES)
    assert len({(call["step"], call["method"], call["path"], str(call["request"])) for call in made}) == 1
    assert after["observed_version"] == told.before["observed_version"] + len(LIES)
    changed = {name for name in after if after[name] != told.before[name]}
    assert changed <= {"version", "observed_version", "looked_at", "updated_at", "observe_at"}
    assert told.hand.topics(told.id) == told.topics


def test_that_an_object_was_created_leads_to_no_fetch_where_it_is_known(told: Told) -> None:
    webhook = told.webhook("payment_intent.created")
    told.hand.quiet()
    assert not told.observations() and not told.hand.open_deliveries()
    assert told.hand.payment(told.id) == told.before
    # a person who has it run again looks
    with told.hand.connection.transaction():
        factories.act(told.hand.connection, "operator")
        told.hand.connection.execute("select replay_webhook(%(merchant_id)s, %(id)s)", webhook)
    told.hand.quiet()
    assert len(told.observations()) == 1


def test_one_look_answers_all_webhooks_that_came_before_it(told: Told) -> None:
    for lie in LIES:
        told.webhook(lie)
    assert told.hand.run_one("remote")
    assert not told.hand.open_deliveries()
    assert len(told.observations()) == 1
    assert not told.hand.run_one("remote"), "their jobs went with them"


def test_a_webhook_that_comes_while_another_looks_waits_only_if_the_look_is_newer(told: Told) -> None:
    told.webhook(LIES[0])
    told.webhook(LIES[1])
    run, fetch = told.claim()
    assert told.hand.run_one("remote")
    assert told.waits() == ["being_fetched"] and len(told.observations()) == 1
    told.webhook(LIES[2])
    finish_fetches(run, fetch)
    # the second is answered with the first, the third may tell of what the first has not seen
    assert [row["status"] for row in told.hand.open_deliveries()] == ["pending"]
    told.hand.quiet()
    assert len(told.observations()) == 2


def test_what_was_overtaken_by_a_look_that_saw_as_much_is_not_asked_again(told: Told) -> None:
    told.webhook(LIES[0])
    run, fetch = told.claim()
    told.webhook(LIES[1])
    told.hand.run_one("remote")
    finish_fetches(run, fetch)
    assert run.ended == "done" and len(told.observations()) == 2
    assert not told.hand.open_deliveries()


def test_a_webhook_that_waits_for_a_look_that_never_ends_looks_itself(told: Told) -> None:
    told.webhook(LIES[0])
    told.webhook(LIES[1])
    told.claim()
    told.hand.run_one("remote")
    assert told.waits() == ["being_fetched"]
    told.hand.quiet()
    assert [call["finished_at"] is None for call in told.observations()].count(True) == 1
    assert len(told.observations()) > 1


def test_a_webhook_about_a_dispute_is_answered_by_no_look_at_the_charge_alone(told: Told) -> None:
    told.webhook(LIES[0])
    told.webhook(DISPUTED)
    told.hand.run_one("remote")
    assert len(told.hand.open_deliveries()) == 1
    told.hand.quiet()
    assert len(told.observations()) == 2


def test_a_replayed_webhook_looks_itself_however_often_was_looked_since(told: Told) -> None:
    webhook = told.webhook(LIES[0])
    told.hand.quiet()
    with told.hand.connection.transaction():
        factories.act(told.hand.connection, "operator")
        told.hand.connection.execute("select replay_webhook(%(merchant_id)s, %(id)s)", webhook)
    told.hand.quiet()
    assert len(told.observations()) == 2


def test_a_replayed_webhook_that_was_overtaken_looks_again(told: Told) -> None:
    webhook = told.webhook(LIES[0])
    told.hand.quiet()
    with told.hand.connection.transaction():
        factories.act(told.hand.connection, "operator")
        told.hand.connection.execute("select replay_webhook(%(merchant_id)s, %(id)s)", webhook)
    told.hand.sweep()
    run, fetch = told.claim()
    told.webhook(LIES[1])
    told.hand.run_one("remote")
    finish_fetches(run, fetch)
    assert run.ended == "done" and len(told.observations()) == 4
