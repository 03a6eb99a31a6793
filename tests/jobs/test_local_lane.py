"""The local lane carries siblings in one transaction; what fails in it is found by halving and fails alone."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from app.config import Settings
from app.db import Tx
from app.services.deliveries import DeliveryKey
from jobs import local
from jobs.handlers import HANDLERS, LocalHandler
from jobs.held import Held
from jobs.runtime import open_runtime
from jobs.turn import Turn
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.worker import Hand
from tests.jobs.books import (
    HANDLER,
    NOBODY_LISTENS,
    Books,
    books,
    dawdles,
    failures_of,
    groups,
    hand,
    in_database,
    lines,
    outcomes,
    payments,
    raises,
    unbalances,
)
from tests.jobs.processes import until

__all__ = ["books", "groups", "hand", "in_database"]

IBAN = "DE89370400440532013000"


def test_a_hundred_deliveries_are_one_transaction(hand: Hand, books: Books, groups: list[int]) -> None:
    payments(hand, 100)
    assert hand.run_one("local")
    assert groups == [100]
    assert outcomes(hand) == {"done": 100}
    assert hand.connection.execute("select count(distinct xmin::text) as n from test_lines").fetchone()["n"] == 1


def test_of_a_hundred_three_fail_alone_and_the_other_97_are_done(
    hand: Hand, books: Books, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # far above what the other 97 need on a machine under load, and far below what the slow one takes
    monkeypatch.setattr(local, "STATEMENT_MS", 1_000)
    ids = payments(hand, 100)
    poison, unbalanced, slow = ids[10], ids[50], ids[90]
    books.conduct = {poison: raises, unbalanced: unbalances, slow: dawdles}
    assert hand.run_one("local")

    assert outcomes(hand) == {"done": 97, "failed": 3}
    assert lines(hand) == Counter(set(ids) - {poison, unbalanced, slow}), "each effect once, none of the failed"
    assert len(groups) <= 1 + 3 * 2 * 7, "each failure costs at most two reruns per halving of a hundred"

    [raised] = failures_of(hand, poison)
    assert (raised["error_class"], raised["message"]) == ("builtins.ValueError", "this one is poison")
    assert "in raises" in raised["traceback"]
    [at_commit] = failures_of(hand, unbalanced)
    assert at_commit["error_class"] == "psycopg.errors.RaiseException"
    assert f"the books of {unbalanced} do not balance" in at_commit["message"]
    assert "Traceback" in at_commit["traceback"]
    [timed_out] = failures_of(hand, slow)
    assert timed_out["error_class"] == "psycopg.errors.QueryCanceled"


def test_of_a_hundred_that_the_database_runs_three_fail_alone_and_the_other_97_are_done(
    hand: Hand, in_database: Books, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # far above what one statement for the other 97 needs, and paid once per halving
    monkeypatch.setattr(local, "STATEMENT_MS", 500)
    ids = payments(hand, 100)
    poison, unbalanced, slow = ids[10], ids[50], ids[90]
    for payment_id, how in ((poison, "raises"), (unbalanced, "unbalances"), (slow, "dawdles")):
        hand.connection.execute("insert into test_conduct values (%s, %s)", [payment_id, how])
    assert hand.run_one("local")

    assert outcomes(hand) == {"done": 97, "failed": 3}
    assert lines(hand) == Counter(set(ids) - {poison, unbalanced, slow}), "each effect once, none of the failed"
    assert len(groups) <= 1 + 3 * 2 * 7, "each failure costs at most two reruns per halving of a hundred"
    assert not in_database.handled, "all of it was run by the database"
    [[raised], [at_commit], [timed_out]] = [failures_of(hand, payment_id) for payment_id in (poison, unbalanced, slow)]
    assert "this one is poison" in raised["message"]
    assert f"the books of {unbalanced} do not balance" in at_commit["message"]
    assert timed_out["error_class"] == "psycopg.errors.QueryCanceled"


def test_a_delivery_that_failed_is_carried_by_nobody_again(hand: Hand, books: Books, groups: list[int]) -> None:
    ids = payments(hand, 8)
    books.conduct = {ids[3]: raises}
    hand.run_all()
    books.conduct = {}
    groups.clear()
    payments(hand, 4)
    hand.until(lambda: outcomes(hand)["failed"] == 1 and not hand.open_deliveries())
    assert sorted(groups) == [1, 4]
    assert lines(hand)[ids[3]] == 1


def test_merchants_take_turns_in_a_group(hand: Hand, books: Books, groups: list[int]) -> None:
    loud = payments(hand, 150)
    quiet = payments(hand, 2)
    hand.run_one("local")
    done = lines(hand)
    assert all(done[payment_id] == 1 for payment_id in quiet), "whoever came later does not wait for the backlog"
    assert 0 < sum(done[payment_id] for payment_id in loud) < 100


def test_a_payment_that_another_holds_is_left_to_it_and_done_later(hand: Hand, books: Books, database: Clone) -> None:
    ids = payments(hand, 5)
    other = database.connect(admin=True, autocommit=False)
    other.execute("select from payments where id = any(%s) for no key update", [[ids[0], ids[2]]])
    hand.run_all()
    assert outcomes(hand) == {"done": 3, "pending": 2}
    other.rollback()
    hand.until(lambda: not hand.open_deliveries())
    assert lines(hand) == Counter(ids)
    assert not hand.connection.execute("select from delivery_failures").fetchall()


def test_with_carrying_off_every_delivery_is_its_own_transaction(
    settings: Settings, database: Clone, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    runtime = open_runtime(replace(settings, stripe_api_base=NOBODY_LISTENS, carrying=False))
    request.addfinalizer(runtime.close)
    hand = Hand(runtime, database)
    sizes: list[int] = []
    run_group = local.run_group
    monkeypatch.setattr(local, "run_group", lambda *a: (sizes.append(len(a[2])), run_group(*a))[1])
    hand.connection.execute(
        "delete from subscriptions;"
        "insert into subscriptions (topic, handler, lane) values ('payment.initiated', 'test_books', 'local')"
    )
    handled: Counter[UUID] = Counter()
    monkeypatch.setitem(
        HANDLERS, HANDLER, LocalHandler(HANDLER, lambda tx, row, timing: handled.update([row["payment_id"]]))
    )
    ids = payments(hand, 7)
    hand.run_all()
    assert sizes == [1] * 7
    assert handled == Counter(ids)
    assert outcomes(hand) == {"done": 7}


def test_the_contents_of_a_refused_row_are_neither_kept_nor_logged(
    hand: Hand, books: Books, lines: list[dict[str, Any]]
) -> None:
    hand.connection.execute("alter table test_lines add column iban text, add check (iban is null)")

    def tells(tx: Tx, delivery: dict[str, Any]) -> None:
        tx.connection.execute("insert into test_lines (amount, iban) values (0, %s)", [IBAN])

    [payment_id] = payments(hand, 1)
    books.conduct = {payment_id: tells}
    hand.run_one("local")
    [failure] = failures_of(hand, payment_id)
    assert failure["error_class"] == "psycopg.errors.CheckViolation"
    assert "violates check constraint" in failure["message"]
    assert "in tells" in failure["traceback"], "the traceback names the handler's own line"
    assert IBAN not in failure["message"] + failure["traceback"] + str(lines)
    assert failure["traceback"] in [line.get("exception") for line in lines], "the log says what is kept"


def test_a_carrier_waits_for_its_own_delivery_and_never_ends_its_only_job(hand: Hand, database: Clone) -> None:
    payment = factories.payment(hand.connection, "submitted")
    another = database.connect(admin=True, autocommit=False)
    # as a group does that looks for siblings and then finds the job of this one taken
    another.execute("select from deliveries where lane = 'local' and payment_id = %s for update", [payment["id"]])
    with ThreadPoolExecutor(1) as pool:
        carrier = pool.submit(hand.run_one, "local")
        until(lambda: hand_waits(database) or carrier.done(), "the carrier to wait for the lock")
        assert not carrier.done()
        another.commit()
        assert carrier.result()
    pending = "select handler from deliveries where lane = 'local' and status = 'pending' and payment_id = %s"
    assert another.execute(pending, [payment["id"]]).fetchall() == []


@pytest.mark.parametrize(("holder", "left"), [("ours", []), ("another", [{"status": "doing"}])])
def test_a_job_ends_with_its_delivery_in_the_hands_of_the_worker_that_holds_it_and_in_no_others(
    hand: Hand, books: Books, holder: str, left: list[dict[str, str]]
) -> None:
    [payment_id] = payments(hand, 1)
    workers = {name: register(hand) for name in ("ours", "another")}
    job, held = fetched_by(hand, workers[holder], ran_by=workers["ours"])
    assert local.run_local(hand.runtime, DeliveryKey(**job["args"]), job["id"], Turn(), held) == 1
    assert lines(hand) == {payment_id: 1}
    assert hand.connection.execute("select status from procrastinate_jobs").fetchall() == left
    assert held.ended, "to whoever lost it there is nothing left to end either"


def test_a_job_whose_delivery_fails_is_left_to_its_worker(hand: Hand, books: Books) -> None:
    [payment_id] = payments(hand, 1)
    books.conduct = {payment_id: raises}
    job, held = fetched_by(hand, register(hand))
    assert local.run_local(hand.runtime, DeliveryKey(**job["args"]), job["id"], Turn(), held) == 0
    assert hand.connection.execute("select id from procrastinate_jobs").fetchall() == [{"id": job["id"]}]
    assert not held.ended


def register(hand: Hand) -> int:
    row = hand.connection.execute("insert into procrastinate_workers default values returning id").fetchone()
    assert row is not None
    return int(row["id"])


def fetched_by(hand: Hand, worker_id: int, ran_by: int | None = None) -> tuple[dict[str, Any], Held]:
    """The only job, fetched by this worker, and as whoever runs it knows it."""
    query = "update procrastinate_jobs set status = 'doing', worker_id = %s returning *"
    job = hand.connection.execute(query, [worker_id]).fetchone()
    assert job is not None
    return job, Held(job["id"], ran_by or worker_id)


def hand_waits(database: Clone) -> bool:
    waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return database.connect(admin=True).execute(waiting).fetchone() is not None
