"""No pass of the clock reads more than what waits, whatever an old snapshot keeps of what is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.config import PLATFORM_MERCHANT_ID
from app.db import Database
from app.model.actor import Actor, ActorType, Role
from jobs import first_due, sweep
from jobs.first_due import FirstDue
from jobs.runtime import Runtime
from tests import factories
from tests.fixtures.database import Clone, Connection
from tests.fixtures.worker import Hand
from tests.jobs.backlog import FEW, entries_read, old_snapshot

CLOCK = Actor(ActorType.RECONCILER, "clock", Role.WORKER)
# Of a few rows each version is an entry of the index.
ROWS, VERSIONS = 10, 200


def events_of_an_hour_ago(conn: Connection, count: int, merchant_id: str | None = None) -> None:
    """Each with a local delivery."""
    payment = factories.payment(conn, "submitted", merchant_id=merchant_id)
    conn.execute(
        "insert into events (merchant_id, id, topic, payment_id, payload, correlation_id)"
        " select %(merchant_id)s, uuidv7('-1 hour'), 'payment.provider_submitted', %(id)s, '{}', 'many'"
        " from generate_series(1, %(count)s)",
        payment | {"count": count},
    )


def events_delivered(conn: Connection, database: Clone, merchant_id: str | None = None) -> None:
    events_of_an_hour_ago(conn, ROWS * VERSIONS, merchant_id)
    old_snapshot(database)
    conn.execute("update deliveries set status = 'done', done_at = clock_timestamp(), job_id = null")


def events_of_the_platform_delivered(conn: Connection, database: Clone) -> None:
    """Whose id is before all others."""
    events_delivered(conn, database, PLATFORM_MERCHANT_ID)


def payments_observed(conn: Connection, database: Clone) -> None:
    """Each date an hour ago."""
    for _ in range(ROWS):
        factories.payment(conn, "submitted")
    conn.execute("alter table payments disable trigger user")
    old_snapshot(database)
    _versions(conn, "payments", "observe_at")


def leases_given_back(conn: Connection, database: Clone) -> None:
    for _ in range(ROWS):
        factories.payment(conn, "submitting")
    conn.execute("alter table operations disable trigger user")
    old_snapshot(database)
    _versions(conn, "operations", "lease_expires_at")


def _versions(conn: Connection, table: str, column: str) -> None:
    for n in range(VERSIONS):
        conn.execute(f"update {table} set {column} = now() - interval '1 hour' + interval '{n} seconds'".encode())
    conn.execute(f"update {table} set {column} = now() + interval '1 hour'".encode())


Known = dict[str, FirstDue]
PASSES: dict[str, tuple[Callable[[Connection, Clone], None], str, Callable[[Runtime, Known], int]]] = {
    "lost jobs": (events_delivered, "deliveries", sweep.find_lost_jobs_once),
    "lost jobs of the platform": (events_of_the_platform_delivered, "deliveries", sweep.find_lost_jobs_once),
    "observations": (
        payments_observed,
        "payments",
        lambda runtime, known: sweep.observe_due_once(runtime, known["local"]),
    ),
    "leases": (
        leases_given_back,
        "operations",
        lambda runtime, known: sweep.expire_leases_once(runtime, known["local"]),
    ),
}


@pytest.mark.parametrize("what", PASSES)
def test_what_is_done_but_seen_by_an_old_snapshot_is_read_once(
    hand: Hand, database: Clone, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(first_due, "FULL_SCANS", 1e-9)
    done, table, run = PASSES[what]
    done(hand.connection, database)
    known = {lane: FirstDue() for lane in sweep.LANES}
    first, second = (read_by_a_pass(hand, database, table, lambda on: run(on, known)) for _ in range(2))
    assert first >= ROWS * VERSIONS and second < FEW, (first, second)


def read_by_a_pass(hand: Hand, database: Clone, table: str, run: Callable[[Runtime], int]) -> int:
    """How many entries of all indexes of a table, the dead ones too."""
    before = entries_read(hand.connection, table)
    with Database(database.url, size=1, application="one pass") as alone:
        run(replace(hand.runtime, database=alone))
        alone.transact(CLOCK, lambda tx: tx.connection.execute("select pg_stat_force_next_flush()"))
    return entries_read(hand.connection, table) - before


def test_a_process_begins_where_one_that_scanned_for_long_came_to(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_due, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(first_due, "FULL_SCAN_WITHIN", 3_600.0)
    for _ in range(2):
        sweep.observe_due_once(hand.runtime, FirstDue("observe"))
    later = FirstDue("observe")
    hand.runtime.database.transact(CLOCK, later.learn)
    assert later.since() is not None


@pytest.mark.parametrize(("full_scans", "found"), [(1e-9, 0), (float("inf"), 1)], ids=["not yet due", "due"])
def test_a_lost_job_of_an_old_event_is_found_by_a_full_scan(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, full_scans: float, found: int
) -> None:
    monkeypatch.setattr(first_due, "FULL_SCANS", full_scans)
    known = {lane: FirstDue() for lane in sweep.LANES}
    assert sweep.find_lost_jobs_once(hand.runtime, known) == 0
    events_of_an_hour_ago(hand.connection, 1)
    hand.connection.execute(
        "delete from procrastinate_jobs where id = (select job_id from deliveries order by event_id limit 1)"
    )
    assert sweep.find_lost_jobs_once(hand.runtime, known) == found
