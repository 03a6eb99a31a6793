"""The acceptance scenarios about webhooks of one payment and one worker, by their number in the domain's list."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
import structlog.testing

from app.config import SANDBOX_API_KEY
from app.services.deliveries import DeliveryKey
from jobs.remote import run_remote
from tests import factories
from tests.e2e.scenario import (
    SPINE,
    first_intent,
    intents,
    invariants_hold,
    of_webhook,
    pay,
    receive,
    spine,
    summary,
)
from tests.fixtures.database import Clone
from tests.fixtures.sandbox import HANGS_UP, Sandbox
from tests.fixtures.worker import Hand
from tests.jobs.test_retries import pause, resume

__all__ = ["invariants_hold"]


def test_scenario_13_a_webhook_ahead_of_our_own_answer_tells_the_same_story_once(hand: Hand, sandbox: Sandbox) -> None:
    payment = pay(hand)

    def webhook_first() -> None:
        ref = first_intent(sandbox, payment)
        receive(hand, "payment_intent.succeeded", ref, payment=payment)
        job = hand.connection.execute(
            "select id, args from procrastinate_jobs where args ->> 'handler' = 'apply_webhook'"
        ).fetchone()
        assert run_remote(hand.runtime, DeliveryKey(**job["args"]), job["id"]) == "done"
        assert hand.payment(payment["id"])["state"] == "confirmed"

    hand.after_send("confirm", webhook_first)
    hand.settle(payment["id"])
    assert spine(hand, payment) == SPINE
    assert summary(sandbox, payment)["captured_charges"] == 1


def test_that_an_object_was_created_waits_for_the_answer_that_says_so_too(hand: Hand, sandbox: Sandbox) -> None:
    payment = pay(hand)

    def webhook_first() -> None:
        receive(hand, "payment_intent.created", first_intent(sandbox, payment), payment=payment)
        assert hand.run_one("remote")
        assert of_webhook(hand)["deferred_for"] == "being_created"
        assert hand.payment(payment["id"])["provider_ref"] is None

    hand.after_send("create", webhook_first)
    assert hand.run_one("remote")
    assert [call["step"] for call in hand.calls()] == ["create", "confirm"]
    hand.until(lambda: of_webhook(hand)["status"] == "done")
    assert hand.settle(payment["id"])["state"] == "settled"
    assert spine(hand, payment) == SPINE
    assert summary(sandbox, payment)["captured_charges"] == 1


def test_that_an_object_was_created_is_looked_at_where_nobody_knows_whether_it_was(
    hand: Hand, sandbox: Sandbox
) -> None:
    sandbox.fault(kind="timeout_after", method="POST", path="/v1/payment_intents", count=2, seconds=HANGS_UP)
    payment = pay(hand)
    hand.run_one("remote")
    assert hand.payment(payment["id"])["state"] == "outcome_unknown"
    ref = first_intent(sandbox, payment)
    receive(hand, "payment_intent.created", ref, payment=payment)
    assert hand.run_one("remote")
    assert [call["step"] for call in hand.calls()][-1] == "fetch"
    assert hand.payment(payment["id"])["provider_ref"] == ref
    assert hand.settle(payment["id"])["state"] == "settled"
    assert summary(sandbox, payment)["captured_charges"] == 1


class Killed(BaseException):
    """The worker is gone."""


def test_that_an_object_was_created_is_looked_at_though_nobody_may_submit_any_more(
    hand: Hand, sandbox: Sandbox
) -> None:
    """Whoever created it died, and an operator has paused whoever would go on: the sweep alone ends the lease."""
    payment = pay(hand)

    def killed() -> None:
        raise Killed

    hand.after_send("create", killed)
    with pytest.raises(Killed):
        hand.run_one("remote")
    pause(hand, "handler", "submit_payment")
    ref = first_intent(sandbox, payment)
    receive(hand, "payment_intent.created", ref, payment=payment)
    assert hand.run_one("remote")
    assert of_webhook(hand)["deferred_for"] == "being_created"
    hand.until(lambda: of_webhook(hand)["status"] == "done", patience=10.0)
    assert hand.payment(payment["id"])["provider_ref"] == ref
    resume(hand)
    assert hand.settle(payment["id"])["state"] == "settled"
    assert summary(sandbox, payment)["captured_charges"] == 1


def test_scenario_18_a_webhook_of_a_payment_not_yet_there_is_applied_when_it_is(
    hand: Hand, sandbox: Sandbox, database: Clone
) -> None:
    """Its payment is in a transaction that commits later."""
    merchant = factories.merchant(hand.connection)["id"]
    slow = database.connect(admin=True, autocommit=False)
    slow.execute("select 1")  # begins it: a block that finds none open would commit
    payment = factories.initiated(slow, merchant)
    ref = create_intent(sandbox, payment)
    receive(hand, "payment_intent.created", ref, payment=payment)
    hand.until(lambda: of_webhook(hand)["deferrals"] >= 2)
    waiting = of_webhook(hand)
    assert (waiting["status"], waiting["deferred_for"], waiting["failures"]) == ("pending", "payment_not_found", 0)
    slow.commit()
    assert hand.settle(payment["id"])["state"] == "settled"
    assert of_webhook(hand)["status"] == "done"
    assert not hand.connection.execute("select from audit_log where action = 'webhook.unrouted'").fetchall()
    assert sorted(intent["status"] for intent in intents(sandbox, payment)) == ["canceled", "succeeded"]


def create_intent(sandbox: Sandbox, payment: dict[str, Any]) -> str:
    """A PaymentIntent that carries our ids and that we never heard of."""
    answer = requests.post(
        f"{sandbox.url}/v1/payment_intents",
        data={
            "amount": payment["amount"],
            "currency": payment["currency"],
            "payment_method": payment["method_token"],
            "metadata[payment_id]": str(payment["id"]),
            "metadata[merchant_id]": str(payment["merchant_id"]),
            "metadata[operation_id]": str(payment["id"]),
        },
        headers={"Authorization": f"Bearer {SANDBOX_API_KEY}"},
        timeout=10,
    )
    assert answer.ok, answer.text
    return str(answer.json()["id"])


def test_a_webhook_of_a_stranger_is_kept_as_evidence_after_a_quarter_of_an_hour(hand: Hand) -> None:
    receive(hand, "payment_intent.succeeded", "pi_of_a_stranger")
    hand.until(lambda: of_webhook(hand)["status"] == "done")
    [entry] = hand.connection.execute("select * from audit_log where action = 'webhook.unrouted'").fetchall()
    assert entry["entity_id"] == "pi_of_a_stranger"
    assert of_webhook(hand)["failures"] == 0


DIES = "update deliveries set status = 'dead', dead_at = now(), dead_reason = 'misuse', job_id = null"


@pytest.mark.parametrize("end", ["done", "dead"])
def test_what_is_over_never_runs_again_because_its_event_came_again(hand: Hand, sandbox: Sandbox, end: str) -> None:
    payment = hand.settle(pay(hand)["id"])
    event = ("payment_intent.succeeded", payment["provider_ref"])
    assert receive(hand, *event, payment=payment)
    if end == "dead":
        hand.connection.execute(DIES + " where handler = 'apply_webhook'")
    hand.run_all()
    before, calls = of_webhook(hand), len(hand.calls())
    assert before["status"] == end
    assert not receive(hand, *event, payment=payment), "it is there already"
    hand.sweep()
    hand.run_all()
    assert of_webhook(hand) == before
    assert len(hand.calls()) == calls


def test_scenario_22_an_event_that_nothing_is_done_by_is_told(hand: Hand, sandbox: Sandbox) -> None:
    payment = hand.settle(pay(hand)["id"])
    with structlog.testing.capture_logs() as lines:
        receive(hand, "crystal.ball", payment["provider_ref"], payment=payment)
        hand.until(lambda: of_webhook(hand)["status"] == "done")
    assert [line["type"] for line in lines if line["log_level"] == "warning"] == ["crystal.ball"]
    told = hand.connection.execute("select reason, body from audit_log where action = 'webhook.ignored'").fetchall()
    assert [(row["reason"], json.loads(row["body"])["type"]) for row in told] == [
        ("nothing is done by its type", "crystal.ball")
    ]


@pytest.mark.parametrize("type", ["payment_intent.teleported", "crystal.ball", "charge.dispute.exploded"])
def test_scenario_22_an_unknown_event_is_stored_and_breaks_nothing(hand: Hand, sandbox: Sandbox, type: str) -> None:
    payment = pay(hand)
    settled = hand.settle(payment["id"])
    receive(hand, type, settled["provider_ref"], payment=payment)
    hand.until(lambda: of_webhook(hand)["status"] == "done")
    stored = hand.connection.execute("select provider_event_id, type, payload from webhooks").fetchall()
    assert stored == [{"provider_event_id": "evt_1", "type": type, "payload": {"id": "evt_1"}}]
    after = hand.payment(payment["id"])
    told = {"version", "observed_version", "updated_at", "observe_at", "looked_at"}
    assert {name for name in after if after[name] != settled[name]} <= told, "it is ignored"
    assert not hand.connection.execute("select from delivery_failures").fetchall()
