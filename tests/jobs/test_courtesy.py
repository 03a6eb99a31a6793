"""While the API serves somebody, a worker with a backlog rests between its groups; while it does not, nothing does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from app.db import Tx
from app.model.actor import Actor, ActorType, Role
from jobs import courtesy as courtesies
from jobs import local
from jobs import turn as turns
from jobs.courtesy import (
    GROUPS_AT_ONCE,
    REST_MOST,
    SERVING_SECONDS,
    SLOT_TRIES,
    SLOT_TRY_SECONDS,
    Courtesy,
    cores,
)
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.worker import Hand

# Further away than any clock that only goes forward will come.
ALWAYS = 1e12


def served(at: float) -> Courtesy:
    """One that saw at this time that somebody was served."""
    courtesy = Courtesy()
    courtesy.sampled(7, at - 1)
    courtesy.sampled(8, at)
    return courtesy


def behind() -> Courtesy:
    """One that has a backlog while somebody is served."""
    courtesy = served(at=ALWAYS)
    courtesy.is_behind = True
    return courtesy


def test_nobody_is_served_until_the_count_has_grown_under_our_eyes() -> None:
    courtesy = Courtesy()
    assert not courtesy.is_due(0.0)
    courtesy.sampled(1_000, 1.0)
    assert not courtesy.is_due(1.0), "which may have been yesterday"
    courtesy.sampled(1_000, 2.0)
    assert not courtesy.is_due(2.0)
    courtesy.sampled(1_001, 3.0)
    assert courtesy.is_due(3.0)


def test_what_was_served_between_two_samples_far_apart_may_have_been_yesterday() -> None:
    courtesy = served(at=3.0)
    courtesy.sampled(9, 1_000.0)
    assert not courtesy.is_due(1_000.0)


def test_who_was_served_is_served_still_until_connections_must_have_told_of_more() -> None:
    courtesy = served(at=3.0)
    courtesy.sampled(8, 4.0)
    assert courtesy.is_due(3.0 + SERVING_SECONDS - 0.1)
    assert not courtesy.is_due(3.0 + SERVING_SECONDS)


def test_a_rest_is_as_long_as_the_work_and_none_where_nobody_is_served() -> None:
    assert served(at=3.0).rest_after(0.05, 3.0) == 0.05
    assert served(at=3.0).rest_after(60.0, 3.0) == REST_MOST
    assert served(at=3.0).rest_after(0.05, 3.0 + SERVING_SECONDS) == 0.0
    assert Courtesy().rest_after(0.05, 3.0) == 0.0


def test_groups_of_a_process_take_turns_while_somebody_is_served_and_only_then() -> None:
    for courtesy, alone in ((served(at=ALWAYS), True), (Courtesy(), False)):
        entered = threading.Event()

        def another(courtesy: Courtesy = courtesy, entered: threading.Event = entered) -> None:
            with courtesy.turn():
                entered.set()

        thread = threading.Thread(target=another)
        with courtesy.turn():
            thread.start()
            assert entered.wait(0.1 if alone else 10) is not alone
        thread.join()
        assert entered.is_set()


def served_so_far(hand: Hand) -> int:
    worker = Actor(ActorType.WORKER, "local", Role.WORKER)
    row: dict[str, Any] | None = hand.runtime.database.transact(worker, lambda tx: tx.one("deliveries.served"))
    assert row is not None
    return int(row["served"])


TAKES = {
    "key": "select * from take_token(%(key)s, %(hmac)s, 'write', 1, %(burst)s, 1, %(burst)s)",
    "operator": "select * from take_operator_token(%(session)s, 'read', 60, 60, 1, %(burst)s)",
    "address": "select * from take_sign_in_token('192.0.2.1', 1, %(burst)s)",
}


@pytest.mark.parametrize("who, counted", [("key", 2), ("operator", 2), ("address", 0)])
def test_whom_the_api_lets_in_is_counted_where_a_worker_sees_it_and_nobody_else(
    hand: Hand, who: str, counted: int
) -> None:
    conn = hand.connection
    key = factories.api_key(conn, factories.merchant(conn)["id"])
    person = bytes.fromhex(factories.session_of(conn, "ann"))
    asks = {"key": key.id, "hmac": key.hmac(factories.PEPPER), "session": person, "burst": 2}
    before = served_so_far(hand)
    for _ in range(4):
        conn.execute(TAKES[who], asks)
    conn.execute(TAKES["key"], asks | {"hmac": b"a stranger's"})
    assert served_so_far(hand) == before + counted, "two of four that ask; who is refused or a stranger is not served"


def test_a_webhook_is_counted_as_it_comes_and_one_that_we_asked_for_is_not(hand: Hand) -> None:
    before = served_so_far(hand)
    for received_by in ("webhook", "poll"):
        with factories.acting(hand.connection, "api"):
            hand.connection.execute(
                "select store_webhook('stripe', 'nobody', jsonb_build_object('received_by', %s::text))", [received_by]
            )
    assert served_so_far(hand) == before + 1


def test_a_full_group_rests_as_long_as_it_was_and_one_that_leaves_nothing_behind_does_not(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(turns, "GROUP_MOST", 2)
    for _ in range(3):
        factories.payment(hand.connection, "submitted")
    vars(hand.runtime.courtesy).update(vars(served(at=ALWAYS)))
    while hand.run_one("local"):
        pass
    full, last = (line for line in lines if line["event"] == "group")
    assert full["deliveries"] == 2 and full["rested"] == full["seconds"]
    assert last["deliveries"] == 1 and last["rested"] == 0.0


def test_groups_are_short_while_somebody_is_served(hand: Hand, lines: list[dict[str, Any]]) -> None:
    # by the pace of the last groups 50 ms are enough for five, and 20 ms for two
    hand.turn.seconds_each = turns.GROUP_SECONDS / 5
    assert turns.SERVING_GROUP_SECONDS < turns.GROUP_SECONDS / 2
    for _ in range(7):
        factories.payment(hand.connection, "submitted")
    vars(hand.runtime.courtesy).update(vars(served(at=ALWAYS)))
    hand.run_one("local")
    hand.turn.seconds_each = turns.GROUP_SECONDS / 5
    vars(hand.runtime.courtesy).update(vars(Courtesy()))
    hand.run_one("local")
    assert [line["deliveries"] for line in lines if line["event"] == "group"] == [2, 5]


def test_a_group_that_finds_every_place_taken_waits_a_little_and_runs_without(
    hand: Hand, database: Clone, lines: list[dict[str, Any]]
) -> None:
    factories.payment(hand.connection, "submitted")
    vars(hand.runtime.courtesy).update(vars(behind()))
    began = time.monotonic()
    with taken(database):
        hand.run_one("local")
    [group] = [line for line in lines if line["event"] == "group"]
    waited = time.monotonic() - began - group["seconds"]
    assert group["deliveries"] == 1
    assert waited >= SLOT_TRIES * SLOT_TRY_SECONDS / 2, "which is no work that a rest would follow"


def test_a_place_is_taken_until_commit_and_nobody_queues_for_it_while_another_is_free(
    database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courtesies, "GROUPS_AT_ONCE", 2)
    first, second, third = (database.connect() for _ in range(3))
    with first.transaction():
        assert behind().take_slot(Tx(first))
        with second.transaction():
            assert behind().take_slot(Tx(second))
            assert not behind().take_slot(Tx(third))
        assert behind().take_slot(Tx(third))


def test_a_worker_that_ends_waits_for_no_slot() -> None:
    ending = threading.Event()
    ending.set()
    assert list(behind().tries(ending)) == [False, True]


def test_a_container_counts_the_cores_it_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert cores() == 3


def test_without_a_backlog_or_anybody_served_a_group_waits_for_no_slot(hand: Hand, database: Clone) -> None:
    for courtesy in (served(at=ALWAYS), Courtesy()):
        factories.payment(hand.connection, "submitted")
        courtesy.is_behind = not courtesy.is_due(ALWAYS)
        vars(hand.runtime.courtesy).update(vars(courtesy))
        with taken(database):
            hand.run_one("local")
        assert hand.results[-1] == ("watch_outcome", 1)


@contextmanager
def taken(database: Clone) -> Iterator[None]:
    """Every slot that workers share is another's."""
    with ExitStack() as held:
        for _ in range(GROUPS_AT_ONCE):
            conn = database.connect()
            held.enter_context(conn.transaction())
            assert behind().take_slot(Tx(conn))
        yield


def test_a_group_is_full_when_one_of_its_merchants_had_all_that_one_may_have() -> None:
    def picked(*of_each: int, share: int) -> list[dict[str, Any]]:
        return [{"merchant_id": number, "share": share} for number, count in enumerate(of_each) for _ in range(count)]

    assert local._is_full(picked(125, 1, share=125)), "of a hundred thousand and of one"
    assert local._is_full(picked(84, 84, 82, share=84))
    assert not local._is_full(picked(20, 20, 20, share=84))
    assert not local._is_full([])


def test_a_backlog_is_seen_beside_merchants_of_whom_nothing_can_be_carried(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(turns, "GROUP_MOST", 6)
    loud = factories.merchant(hand.connection)["id"]
    for merchant_id in (loud,) * 9 + (factories.merchant(hand.connection)["id"],) * 2:
        factories.payment(hand.connection, "submitted", merchant_id=merchant_id)
    hand.connection.execute("update deliveries set alone = true where merchant_id <> %s", [loud])
    hand.run_one("local")
    [group] = [line for line in lines if line["event"] == "group"]
    assert group["deliveries"] == 4, "its own, and half a group"
    assert hand.runtime.courtesy.is_behind
