"""What a group of local deliveries waits for in vain: locks that others hold, and its own carrier while it is rerun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from app.db import Database, Tx
from jobs import local
from jobs import turn as turns
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.worker import Hand
from tests.jobs.books import Books, books, groups, hand, in_database, lines, outcomes, payments, raises
from tests.jobs.processes import until
from tests.jobs.test_courtesy import ALWAYS, served

__all__ = ["books", "groups", "hand", "in_database"]


def test_a_lock_is_given_up_before_the_statement_that_waits_for_it(hand: Hand, books: Books) -> None:
    limits: dict[str, int] = {}

    def asks(tx: Tx, delivery: dict[str, Any]) -> None:
        rows = tx.connection.execute("select name, setting::integer from pg_settings where name like '%_timeout'")
        limits.update({row["name"]: row["setting"] for row in rows})

    [asking] = payments(hand, 1)
    books.conduct[asking] = asks
    hand.run_one("local")
    assert 0 < limits["lock_timeout"] < limits["statement_timeout"] == local.STATEMENT_MS


PUT_OFF = [{"status": "pending", "deferred_for": "conflict", "failures": 0, "job_id": None}]


def waiting(hand: Hand) -> list[dict[str, Any]]:
    return hand.connection.execute("select status, deferred_for, failures, job_id from deliveries").fetchall()


def test_a_handler_that_waits_in_vain_for_a_lock_has_not_failed(
    hand: Hand, books: Books, database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "STATEMENT_MS", 200)
    lock = "select pg_advisory_xact_lock(1)"
    [queueing] = payments(hand, 1)
    books.conduct[queueing] = lambda tx, delivery: tx.connection.execute(lock) and None
    other = database.connect(admin=True)
    with other.transaction():
        other.execute(lock)
        hand.run_one("local")
    assert waiting(hand) == PUT_OFF


LOUD, HALVINGS = 12, 4


@pytest.fixture
def held(hand: Hand, books: Books, database: Clone, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[UUID]]:
    """Payments of a merchant whose books another holds something of; and last one of a merchant of whom nobody does."""
    monkeypatch.setattr(local, "STATEMENT_MS", 200)
    loud, quiet = sorted(factories.merchant(hand.connection, name)["id"] for name in ("A", "B"))
    ids = [factories.payment(hand.connection, merchant_id=whose)["id"] for whose in [loud] * LOUD + [quiet]]
    lock = "select pg_advisory_xact_lock(1)"
    books.conduct = {one: lambda tx, delivery: tx.connection.execute(lock) and None for one in ids[:LOUD]}
    other = database.connect(admin=True)
    with other.transaction():
        other.execute(lock)
        yield ids


def test_a_group_waits_for_what_another_holds_no_longer_than_to_find_one_that_does(
    hand: Hand, held: list[UUID], groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "HALVES_SECONDS", 0.0)
    assert hand.run_one("local")
    assert groups == [13, 6, 3, 1]
    jobs = hand.connection.execute("select from deliveries where job_id is not null").rowcount
    assert (waiting(hand).count(PUT_OFF[0]), jobs) == (1, LOUD), "the others keep their jobs"


def test_whoever_waits_for_nobody_is_done_while_others_are_put_off(
    hand: Hand, held: list[UUID], groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "HALVES_SECONDS", 0.0)
    rounds = hand.run_all()
    assert rounds <= len(held) and len(groups) <= rounds * (1 + HALVINGS)
    assert delivery_of(hand, held[-1])["status"] == "done"
    assert outcomes(hand) == {"done": 1, "pending": LOUD} and waiting(hand).count(PUT_OFF[0]) == LOUD


def test_each_half_waits_for_a_moment(hand: Hand, held: list[UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    begin, given = Database.begin, []
    monkeypatch.setattr(Database, "begin", lambda *args, **how: given.append(how["timeouts"]) or begin(*args, **how))
    hand.run_one("local")
    first, *halves = [limits.lock for limits in given if limits.statement == local.STATEMENT_MS]
    assert halves and first == local.STATEMENT_MS * local.LOCK_SHARE and set(halves) == {local.HALF_LOCK_MS}


def test_a_worker_that_ends_runs_no_half(hand: Hand, held: list[UUID], groups: list[int]) -> None:
    hand.runtime.draining.set()
    assert hand.run_one("local")
    assert groups == [13]
    own = delivery_of(hand, held[0])
    assert (own["job_id"], own["deferred_for"], outcomes(hand)) == (None, "draining", {"pending": LOUD + 1})
    assert own["deferred_since"] is None, "it is for no day that it waits for another worker"


def test_a_delivery_that_another_holds_for_long_comes_again(
    hand: Hand, books: Books, database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "STATEMENT_MS", 200)
    payments(hand, 1)
    other, onlooker = (database.connect(admin=True) for _ in range(2))
    putting_off = "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%update deliveries set%'"
    with ThreadPoolExecutor(1) as pool:
        with other.transaction():
            other.execute("select from deliveries for update")
            ran = pool.submit(hand.run_one, "local")
            until(lambda: ran.done() or onlooker.execute(putting_off).rowcount, "its job to put it off")
        assert ran.result()
    assert waiting(hand) == PUT_OFF


def test_reruns_in_halves_are_as_short_as_groups_while_somebody_is_served(
    hand: Hand, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    run_group = local.run_group
    monkeypatch.setattr(local, "run_group", lambda *args: given.append(args[4]) or run_group(*args))
    failing, _ = payments(hand, 2)
    books.conduct[failing] = raises
    vars(hand.runtime.courtesy).update(vars(served(at=ALWAYS)))
    hand.run_one("local")
    assert given == [turns.SERVING_GROUP_SECONDS] * 3


@pytest.fixture(params=["books", "in_database"])
def kept(request: pytest.FixtureRequest) -> Books:
    """The books, kept by Python and kept by the database."""
    made: Books = request.getfixturevalue(request.param)
    return made


def poison(hand: Hand, books: Books, payment_id: UUID) -> None:
    """Whoever keeps the books, this one raises."""
    books.conduct[payment_id] = raises
    if hand.connection.execute("select from pg_class where relname = 'test_conduct'").rowcount:
        hand.connection.execute("insert into test_conduct values (%s, 'raises')", [payment_id])


def carrier_and_siblings(hand: Hand, siblings: int) -> list[UUID]:
    """A group whose carrier is its first, but by key its last: its merchant's id is the highest."""
    others, own = (factories.merchant(hand.connection, name)["id"] for name in ("A", "B"))
    assert others < own
    merchants = [own] + [others] * siblings
    return [factories.payment(hand.connection, merchant_id=merchant)["id"] for merchant in merchants]


def delivery_of(hand: Hand, payment_id: UUID) -> dict[str, Any]:
    row = hand.connection.execute("select * from deliveries where payment_id = %s", [payment_id]).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("index", [3, 6], ids=["in its half", "in the other half"])
def test_a_carrier_whose_payment_another_holds_is_due_again_though_its_group_fails(
    hand: Hand, kept: Books, groups: list[int], database: Clone, index: int
) -> None:
    carrier, sibling, *others = ids = carrier_and_siblings(hand, 7)
    poison(hand, kept, ids[index])
    other = database.connect(admin=True, autocommit=False)
    other.execute("select from payments where id = any(%s) for no key update", [[carrier, sibling]])
    assert hand.run_one("local")
    assert outcomes(hand) == {"done": 5, "failed": 1, "pending": 2}
    own, left = delivery_of(hand, carrier), delivery_of(hand, sibling)
    assert (own["job_id"], own["deferred_for"]) == (None, "payment_locked"), "its job ended with the task"
    assert (left["job_id"] is None, left["deferrals"]) == (False, 0), "a sibling's job waits for another"
    done = "select from procrastinate_jobs j join deliveries d on d.event_id::text = j.args ->> 'event_id'"
    assert not hand.connection.execute(f"{done} where d.status = 'done'".encode()).rowcount
    other.rollback()
    hand.until(lambda: outcomes(hand) == {"done": 7, "failed": 1})
    assert lines(hand) == Counter({carrier, sibling, *others} - {ids[index]})


def test_a_carrier_that_another_looks_at_while_its_group_is_rerun_is_due_again(
    hand: Hand, books: Books, groups: list[int], database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier, *others = carrier_and_siblings(hand, 7)
    poison(hand, books, others[-1])
    run_half = local.Halves.run

    def looked_at(halves: local.Halves, half: list[dict[str, Any]]) -> int:
        with database.connect(admin=True, autocommit=False) as other:
            other.execute("select from deliveries where payment_id = %s for update skip locked", [carrier])
            return run_half(halves, half)

    monkeypatch.setattr(local.Halves, "run", looked_at)
    assert hand.run_one("local")
    assert outcomes(hand) == {"done": 6, "failed": 1, "pending": 1}
    own = delivery_of(hand, carrier)
    assert (own["job_id"], own["deferred_for"]) == (None, "payment_locked")
