"""Three raised failures make a dead letter; whatever is no failure waits uncounted, and only for so long."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
import requests

from app.model.actor import Actor, ActorType, Role
from app.services import dead_letters, deliveries
from jobs.handlers import HANDLERS, LocalHandler, RemoteHandler
from jobs.run import Run
from tests import factories
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.worker import Hand

HANDLER = "test_fragile"
# 15 s and 60 s, each +-20 %.
BACKOFF = ((12.0, 18.0), (48.0, 72.0))
TIME_SCALE = 0.01


class Fragile:
    """A remote handler that raises what it is told to, and counts its runs by payment."""

    def __init__(self) -> None:
        self.error: Callable[[], Exception] | None = lambda: ValueError("out of order")
        self.only: UUID | None = None
        self.runs: list[UUID] = []

    def handle(self, run: Run) -> None:
        run.begin(lambda tx: None)
        payment_id = run.delivery["payment_id"]
        self.runs.append(payment_id)
        if self.error is not None and self.only in (None, payment_id):
            raise self.error()
        run.transact(run.done)


@pytest.fixture
def fragile(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> Fragile:
    """The handler, subscribed to new payments beside submit_payment."""
    made = Fragile()
    monkeypatch.setitem(HANDLERS, HANDLER, RemoteHandler(HANDLER, made.handle))
    subscribe(hand, "payment.initiated", HANDLER)
    return made


def subscribe(hand: Hand, topic: str, handler: str, lane: str = "remote") -> None:
    hand.connection.execute(
        "insert into subscriptions (topic, handler, lane) values (%s, %s, %s)", [topic, handler, lane]
    )


def only(hand: Hand, handler: str) -> None:
    hand.connection.execute("delete from subscriptions where handler <> %s", [handler])


def pay(hand: Hand, **columns: Any) -> dict[str, Any]:
    return factories.payment(hand.connection, **{"method_token": "pm_card_visa", **columns})


def delivery(hand: Hand, handler: str = HANDLER) -> dict[str, Any]:
    row = hand.connection.execute("select * from deliveries where handler = %s", [handler]).fetchone()
    assert row is not None
    return row


def failures(hand: Hand) -> list[dict[str, Any]]:
    return hand.connection.execute("select * from delivery_failures order by failed_at, id").fetchall()


def replay(hand: Hand) -> None:
    """What `postbox dlq replay` does to a dead delivery."""
    [letter] = hand.dead()
    person = Actor(ActorType.OPERATOR, "a person", Role.OPERATOR)
    assert hand.runtime.database.transact(
        person, lambda tx: dead_letters.replay(tx, letter, by="a person", reason="it is fixed")
    )


def test_scenario_39_the_third_failure_is_a_dead_letter_with_every_error_and_its_time(
    hand: Hand, fragile: Fragile
) -> None:
    pay(hand)
    hand.until(lambda: delivery(hand)["status"] == "dead")
    dead = delivery(hand)
    assert len(fragile.runs) == 3
    assert (dead["dead_reason"], dead["failures"], dead["runs"], dead["job_id"]) == ("failures", 3, 3, None)
    kept = failures(hand)
    assert [(f["error_class"], f["message"]) for f in kept] == [("builtins.ValueError", "out of order")] * 3
    assert all("in handle" in f["traceback"] and "raise self.error()" in f["traceback"] for f in kept)

    waits = [(later["failed_at"] - earlier["failed_at"]).total_seconds() for earlier, later in pairwise(kept)]
    for waited, (least, _) in zip(waits, BACKOFF, strict=True):
        assert waited >= least * TIME_SCALE


def test_scenario_39_waits_between_failures_are_15_and_60_seconds_give_or_take_a_fifth(
    hand: Hand, fragile: Fragile
) -> None:
    only(hand, HANDLER)
    seen: list[list[float]] = [[], []]
    for _ in range(12):
        pay(hand)
    for waits, (least, most) in zip(seen, BACKOFF, strict=True):
        hand.run_all()
        rows = hand.connection.execute(
            "select extract(epoch from d.due_at - f.failed_at)::float8 as wait from deliveries d"
            " cross join lateral (select max(failed_at) as failed_at from delivery_failures f"
            " where (f.merchant_id, f.event_id, f.handler) = (d.merchant_id, d.event_id, d.handler)) f"
        ).fetchall()
        waits += [row["wait"] / TIME_SCALE for row in rows]
        # the failure is written a moment after the due time it leads to
        assert all(least - 3 <= wait <= most for wait in waits)
        assert max(waits) - min(waits) > (most - least) / 10, "with jitter, so that what failed together is spread"
        with factories.acting(hand.connection, "worker"):
            hand.connection.execute("update deliveries set due_at = clock_timestamp()")
        hand.sweep()


def test_scenario_39_other_handlers_of_the_event_are_not_affected(hand: Hand, fragile: Fragile) -> None:
    payment = pay(hand)
    hand.until(lambda: delivery(hand)["status"] == "dead")
    hand.until(lambda: hand.payment(payment["id"])["state"] == "settled")
    assert [row["handler"] for row in hand.dead()] == [HANDLER]


def test_scenario_39_a_replay_after_the_fix_has_its_effect_once(hand: Hand, fragile: Fragile) -> None:
    pay(hand)
    hand.until(lambda: delivery(hand)["status"] == "dead")
    fragile.error = None
    replay(hand)
    hand.until(lambda: delivery(hand)["status"] == "done")
    assert len(fragile.runs) == 4
    assert len(failures(hand)) == 3, "what went wrong is kept after the replay"


def test_scenario_39_a_poison_event_does_not_delay_later_events_of_the_same_payment(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = Fragile()
    monkeypatch.setitem(HANDLERS, HANDLER, RemoteHandler(HANDLER, poison.handle))
    later = Fragile()
    later.error = None
    monkeypatch.setitem(HANDLERS, "test_later", RemoteHandler("test_later", later.handle))
    subscribe(hand, "payment.initiated", HANDLER)
    subscribe(hand, "payment.confirmed", "test_later")
    payment = pay(hand)
    hand.run_all()
    assert later.runs == [payment["id"]], "done in the first pass, while the poison has two tries left"
    assert delivery(hand)["failures"] == 1


def test_a_local_failure_counts_like_a_remote_one(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(tx: Any, row: Any, timing: Any) -> None:
        raise KeyError("no such line")

    monkeypatch.setitem(HANDLERS, HANDLER, LocalHandler(HANDLER, raises))
    subscribe(hand, "payment.initiated", HANDLER, "local")
    only(hand, HANDLER)
    pay(hand)
    hand.until(lambda: delivery(hand)["status"] == "dead")
    assert [f["error_class"] for f in failures(hand)] == ["builtins.KeyError"] * 3
    assert (delivery(hand)["dead_reason"], delivery(hand)["failures"]) == ("failures", 3)


def test_a_handler_this_release_does_not_know_waits_uncounted(hand: Hand) -> None:
    for lane in ("remote", "local"):
        subscribe(hand, "payment.initiated", f"from_the_future_{lane}", lane)
    pay(hand)
    hand.until(lambda: delivery(hand, "from_the_future_remote")["deferrals"] >= 4)
    for lane in ("remote", "local"):
        waiting = delivery(hand, f"from_the_future_{lane}")
        assert (waiting["status"], waiting["failures"], waiting["deferred_for"]) == ("pending", 0, "unknown_handler")
        assert waiting["deferrals"] > 0


def test_a_day_of_deferrals_is_a_dead_letter_marked_deferred(hand: Hand, fragile: Fragile) -> None:
    subscribe(hand, "payment.initiated", "from_the_future")
    only(hand, "from_the_future")
    pay(hand)
    hand.run_all()
    cap = hand.runtime.timing.deferral_cap
    age(hand, cap * 0.99)
    hand.until(lambda: delivery(hand, "from_the_future")["deferrals"] >= 2)
    assert delivery(hand, "from_the_future")["status"] == "pending"
    age(hand, cap)
    hand.until(lambda: delivery(hand, "from_the_future")["status"] == "dead")
    dead = delivery(hand, "from_the_future")
    assert (dead["dead_reason"], dead["failures"]) == ("deferred", 0)


def age(hand: Hand, seconds: float) -> None:
    """As if the first deferral had been so long ago."""
    hand.connection.execute(
        "update deliveries set deferred_since = clock_timestamp() - make_interval(secs => %s)", [seconds]
    )


def pause(hand: Hand, kind: str, name: str) -> None:
    with factories.acting(hand.connection, "operator"):
        hand.connection.execute(
            "insert into pauses (kind, name, reason, paused_by) values (%s, %s, 'test', 'a person')", [kind, name]
        )


def resume(hand: Hand) -> None:
    with factories.acting(hand.connection, "operator"):
        hand.connection.execute("delete from pauses")


@pytest.mark.parametrize("kind", ["handler", "merchant", "provider"])
def test_what_a_person_has_paused_waits_uncounted_and_goes_on_when_resumed(
    hand: Hand, sandbox: Sandbox, kind: str
) -> None:
    payment = pay(hand)
    pause(hand, kind, {"handler": "submit_payment", "merchant": str(payment["merchant_id"])}.get(kind, "stripe"))
    hand.until(lambda: delivery(hand, "submit_payment")["deferred_for"] == "paused")
    age(hand, hand.runtime.timing.deferral_cap * 2)
    for _ in range(3):
        hand.sweep()
        hand.run_all()
    waiting = delivery(hand, "submit_payment")
    assert (waiting["status"], waiting["failures"]) == ("pending", 0)
    assert hand.payment(payment["id"])["state"] == "initiated"
    assert not hand.calls()
    resume(hand)
    assert hand.settle(payment["id"])["state"] == "settled"


def test_a_pause_of_another_merchant_stops_nobody_else(hand: Hand, sandbox: Sandbox) -> None:
    stopped, free = pay(hand), pay(hand)
    pause(hand, "merchant", str(stopped["merchant_id"]))
    hand.until(lambda: hand.payment(free["id"])["state"] == "settled")
    assert hand.payment(stopped["id"])["state"] == "initiated"


def test_a_pause_longer_than_the_cap_leaves_a_day_for_what_waited_before_it(hand: Hand, sandbox: Sandbox) -> None:
    """What was deferred once before a long pause is not a dead letter at its first deferral after it."""
    sandbox.fault(kind="rate_limit_429", method="POST", path="/v1/payment_intents", count=2)
    payment = pay(hand)
    hand.run_all()
    assert delivery(hand, "submit_payment")["deferrals"] == 1
    pause(hand, "handler", "submit_payment")
    hand.until(lambda: delivery(hand, "submit_payment")["deferred_for"] == "paused")
    if delivery(hand, "submit_payment")["deferred_since"] is not None:
        age(hand, hand.runtime.timing.deferral_cap * 2)
    resume(hand)
    assert hand.settle(payment["id"])["state"] == "settled"


def test_scenario_12_one_key_with_two_bodies_is_a_dead_letter_at_once_and_never_a_fresh_key(
    hand: Hand, sandbox: Sandbox
) -> None:
    """Somebody used our key with another body; only a person can know what happened."""
    payment = pay(hand)
    event = delivery(hand, "submit_payment")["event_id"]
    spend_key(sandbox, f"{event}:create:1")
    hand.until(lambda: delivery(hand, "submit_payment")["status"] == "dead")
    dead = delivery(hand, "submit_payment")
    assert (dead["dead_reason"], dead["failures"]) == ("misuse", 0)
    assert [call["outcome"] for call in hand.calls()] == ["misuse"]
    hand.sweep()
    hand.run_all()
    assert len(hand.calls()) == 1
    assert hand.connection.execute("select count(*) as n from operation_attempts").fetchone() == {"n": 1}
    assert hand.payment(payment["id"])["state"] == "outcome_unknown"


def spend_key(sandbox: Sandbox, key: str) -> None:
    answer = requests.post(
        f"{sandbox.url}/v1/payment_intents",
        data={"amount": 5555, "currency": "eur"},
        headers={"Idempotency-Key": key, "Authorization": "Bearer sk_test_postbox"},
        timeout=10,
    )
    assert answer.ok, answer.text


def test_what_a_retry_needs_is_bounded(hand: Hand, fragile: Fragile) -> None:
    only(hand, HANDLER)
    fragile.error = lambda: ValueError("x" * 100_000 + "\x00")
    pay(hand)
    hand.run_all()
    [failure] = failures(hand)
    assert len(failure["message"]) == deliveries.MESSAGE_CHARACTERS
    assert len(failure["traceback"]) <= deliveries.TRACEBACK_CHARACTERS


def test_a_lost_job_is_found_by_key_and_its_delivery_runs(hand: Hand, sandbox: Sandbox) -> None:
    payment = pay(hand)
    hand.connection.execute("delete from procrastinate_jobs")
    assert not hand.run_one()
    assert hand.settle(payment["id"])["state"] == "settled"


def test_a_deadlock_in_the_local_lane_is_no_failure(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    def deadlocks(tx: Any, row: Any, timing: Any) -> None:
        tx.connection.execute("do $$ begin raise exception 'deadlock' using errcode = '40P01'; end $$")

    monkeypatch.setitem(HANDLERS, HANDLER, LocalHandler(HANDLER, deadlocks))
    subscribe(hand, "payment.initiated", HANDLER, "local")
    only(hand, HANDLER)
    pay(hand)
    hand.until(lambda: delivery(hand)["deferrals"] >= 1)
    assert delivery(hand)["failures"] == 0
