"""A balance that becomes available in days is waited for by the clock, or told of by the provider."""

from __future__ import annotations

from typing import Any

from app.model.actor import Actor, ActorType, Role
from app.services import webhooks
from jobs.provider_runs import request_runs_once
from jobs.sweep import observe_due_once
from tests import factories
from tests.e2e.scenario import DAY, SPINE, invariants_hold, pay, spine
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.shop import Shop
from tests.fixtures.told import told
from tests.fixtures.worker import Hand

__all__ = ["invariants_hold"]

WHOLE = ["fetch", "list_disputes", "list_refunds"]


def test_a_balance_available_in_three_days_is_waited_for_and_no_dead_letter(hand: Hand, sandbox: Sandbox) -> None:
    payment = waiting_for_its_line(hand, sandbox)
    waiting = hand.payment(payment["id"])
    assert waiting["state"] == "confirmed"
    assert (waiting["observe_at"] - waiting["confirmed_at"]).total_seconds() > 2.9 * DAY
    for _ in range(3):
        hand.sweep()
        assert hand.run_all() == 0, "nobody asks before the day"
    sandbox.advance(3 * DAY + 60)
    asked = len(hand.calls())
    look_now(hand)
    assert hand.settle(payment["id"])["state"] == "settled"
    # its line was all it waited for: nobody asks for refunds and disputes
    assert [call["step"] for call in hand.calls()[asked:]] == ["fetch"]
    assert spine(hand, payment) == SPINE
    assert not hand.dead()


def test_one_that_a_person_asks_about_is_asked_about_whole(hand: Hand, sandbox: Sandbox) -> None:
    waiting_for_its_line(hand, sandbox)
    look_now(hand)
    hand.sweep()
    replayed = "update deliveries set alone = true where handler = 'observe_payment' and status = 'pending'"
    assert hand.connection.execute(replayed).rowcount == 1
    assert steps_of_looking(hand) == WHOLE


def test_one_with_a_discrepancy_is_asked_about_whole(hand: Hand, sandbox: Sandbox) -> None:
    waiting_for_its_line(hand, sandbox)
    hand.connection.execute("alter table discrepancies disable trigger user")
    hand.connection.execute(
        "insert into discrepancies (merchant_id, type, severity, subject, evidence_at, sla_due_at, detected_by)"
        " select merchant_id, 'state_mismatch', 'high', 'payment/' || id, now(), now(), 'daily' from payments"
    )
    look_now(hand)
    # and nothing else of a sweep: half a second after the payment changed it would compare, and close what has met
    assert observe_due_once(hand.runtime) == 1
    assert steps_of_looking(hand) == WHOLE
    hand.connection.execute("delete from discrepancies")


def waiting_for_its_line(hand: Hand, sandbox: Sandbox) -> dict[str, Any]:
    """A payment whose money line is known, and pending for three days."""
    sandbox.control("POST", "timing", available_after=3 * DAY)
    payment = pay(hand)
    hand.until(lambda: hand.connection.execute("select from provider_transactions").fetchone() is not None)
    hand.quiet()
    return payment


def steps_of_looking(hand: Hand) -> list[str]:
    """What is asked until nothing is left to do."""
    asked = len(hand.calls())
    hand.quiet()
    return [call["step"] for call in hand.calls()[asked:]]


def look_now(hand: Hand) -> None:
    with factories.acting(hand.connection, "worker"):
        hand.connection.execute("update payments set observe_at = clock_timestamp()")


def test_a_refund_that_failed_before_anybody_looked_is_found_by_its_lines(shop: Shop) -> None:
    hand, sandbox = shop.hand, shop.sandbox
    payment = waiting_for_its_line(hand, sandbox)
    refund = shop.refund_in_dashboard(hand.payment(payment["id"]), 300)
    sandbox.control("POST", f"refunds/{refund}/fail")
    # the charge tells of nothing
    look_now(hand)
    hand.sweep()
    hand.quiet()
    assert hand.connection.execute("select from refunds").fetchone() is None
    # nor does the hour's list of events: what leads to it is the hour's list of lines
    with factories.acting(hand.connection, "operator"):
        hand.connection.execute(
            "insert into pauses (kind, name, reason, paused_by) values ('handler', 'apply_webhook', 'test', 'ana')"
        )
    hand.connection.execute("delete from reconciliation_runs where status = 'finished' and kind <> 'payout'")
    request_runs_once(hand.runtime)
    hand.until(lambda: hand.connection.execute("select from refunds").fetchone() is not None)
    found = hand.connection.execute("select provider_ref, state from refunds").fetchall()
    assert found == [{"provider_ref": refund, "state": "failed"}]
    assert hand.payment(payment["id"])["state"] == "confirmed"
    with factories.acting(hand.connection, "operator"):
        hand.connection.execute("delete from pauses")


def test_a_balance_event_of_the_provider_settles_what_became_available(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.control("POST", "timing", available_after=60)
    payment = pay(hand)
    hand.until(lambda: hand.connection.execute("select from provider_transactions").fetchone() is not None)
    hand.quiet()
    sandbox.advance(61)
    available = hand.connection.execute("select available_on from provider_transactions").fetchone()["available_on"]
    store_balance_event(hand, available)
    assert hand.settle(payment["id"])["state"] == "settled"


def store_balance_event(hand: Hand, at: Any) -> None:
    hand.runtime.database.transact(
        Actor(ActorType.API, "webhook:stripe/default", Role.API),
        lambda tx: webhooks.store(tx, told(type="balance.available", created_at=at), body_sha256="0" * 64),
    )
