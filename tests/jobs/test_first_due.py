"""Comparing reads no more of what waits by date than what is due, whatever an old snapshot keeps of what is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.db import Database
from app.model.actor import Actor, ActorType, Role
from jobs import first_due
from jobs.first_due import FirstDue
from jobs.reconcile import compare_due_once
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.worker import Hand
from tests.jobs.backlog import FEW, entries_read, old_snapshot

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
CLOCK = Actor(ActorType.RECONCILER, "clock", Role.WORKER)


def test_what_was_compared_but_is_seen_by_an_old_snapshot_is_read_once(
    hand: Hand, database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_due, "FULL_SCANS", 1e-9)
    hand.connection.execute(
        "insert into reconcile_due (merchant_id, payment_id, due_at)"
        " select uuidv7(), uuidv7(), now() - interval '1 minute' from generate_series(1, 3000)"
    )
    old_snapshot(database)
    hand.connection.execute("delete from reconcile_due")
    known = FirstDue()
    first, second = (read_by_a_pass(hand, database, known) for _ in range(2))
    assert first >= 3_000 and second < FEW, (first, second)


def read_by_a_pass(hand: Hand, database: Clone, known: FirstDue) -> int:
    """How many entries of the indexes of what waits to be compared, the dead ones too."""
    before = entries_read(hand.connection, "reconcile_due")
    with Database(database.url, size=1, application="one pass") as alone:
        compare_due_once(replace(hand.runtime, database=alone), known)
        # what a session has read is told when it says so
        alone.transact(CLOCK, lambda tx: tx.connection.execute("select pg_stat_force_next_flush()"))
    return entries_read(hand.connection, "reconcile_due") - before


@pytest.mark.parametrize(
    ("late_by", "full_scans"), [("4 seconds", 1e-9), ("1 hour", float("inf"))], ids=["within the slack", "later"]
)
def test_a_date_that_is_committed_late_is_kept(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, late_by: str, full_scans: float
) -> None:
    monkeypatch.setattr(first_due, "FULL_SCANS", full_scans)
    known = FirstDue()
    assert compare_due_once(hand.runtime, known) == 0
    factories.payment(hand.connection)
    hand.connection.execute("update reconcile_due set due_at = now() - %s::interval", [late_by])
    assert compare_due_once(hand.runtime, known) == 1


def test_a_scan_that_was_cut_off_is_not_tried_again_by_the_next_pass() -> None:
    known = FirstDue()
    assert known.since() is None
    known.scanned(None, FIRST, seconds=0.0)
    assert known.since() is None, "it cost nothing, and scans as often as it may"
    assert known.since() == FIRST - first_due.SLACK, "that one told nothing"
