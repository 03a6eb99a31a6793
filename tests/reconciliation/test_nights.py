"""A night reads every payment by key: it locks and compares what is amiss, and leaves the others alone."""

from __future__ import annotations

from typing import Any

import pytest

from app.config import Timing
from app.db import Tx
from app.services import reconciliation
from app.services.reconciliation import Compared
from jobs.provider_runs import compare_night_once, request_runs_once
from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.worker import Hand
from tests.reconciliation.comparing import compare, line, met, next_comparison, opened

START = {"merchant_id": "00000000-0000-0000-0000-000000000000", "payment_id": "00000000-0000-0000-0000-000000000000"}
QUARTER = 90 * 86_400


def night(conn: Connection, *, limit: int = 1_000, most: int = 40) -> tuple[int, int, Compared]:
    """Page after page to the end: how many pages, how many payments were read, and what changed."""
    pages, payments, changed, at, timing = 0, 0, Compared(), START, Timing()
    while True:
        with factories.acting(conn, "reconciler"):
            page, one = reconciliation.compare_night(Tx(conn), at, limit=limit, most=most, back=QUARTER, timing=timing)
        pages, changed = pages + 1, changed + one
        if page is None:
            return pages, payments, changed
        assert one.payments <= most
        payments += page["payments"]
        if page["is_last"]:
            return pages, payments, changed
        at = {name: str(page[name]) for name in at}


def last_locked(conn: Connection) -> dict[str, str]:
    """By which transaction each payment was locked or changed last."""
    rows = conn.execute("select state, xmin::text || '/' || xmax::text as by from payments").fetchall()
    return {row["state"]: row["by"] for row in rows}


def wrong(conn: Connection) -> Row:
    p = factories.payment(conn, "failed")
    line(conn, p, "charge", p["amount"])
    return p


def forgotten(conn: Connection) -> None:
    """Nobody is going to compare anything."""
    conn.execute("delete from reconcile_due")


def test_it_compares_what_is_amiss_and_nothing_else(conn: Connection) -> None:
    _, bad = met(conn), wrong(conn)
    forgotten(conn)
    assert night(conn) == (1, 2, Compared(1, opened=1))
    assert [(row["type"], row["detected_by"]) for row in opened(conn, bad)] == [("money_after_final", "daily")]


def test_it_closes_what_met_though_nobody_was_told(conn: Connection) -> None:
    bad = wrong(conn)
    compare(conn, bad)
    line(conn, bad, "refund", -bad["amount"])
    forgotten(conn)
    assert night(conn) == (1, 1, Compared(1, closed=1))


def test_who_will_have_been_silent_for_too_long_is_looked_at_then_though_that_was_forgotten(conn: Connection) -> None:
    p = factories.payment(conn, "submitted")
    forgotten(conn)
    assert night(conn) == (1, 1, Compared(1))
    assert (next_comparison(conn, p) or 0) > 500
    assert night(conn) == (1, 1, Compared()), "somebody is going to compare it"


@pytest.mark.parametrize("limit, most", [(1, 40), (3, 2), (100, 1), (100, 3), (7, 7)])
def test_however_its_pages_fall_each_payment_is_looked_at_once(conn: Connection, limit: int, most: int) -> None:
    payments = [wrong(conn) if number % 2 else met(conn) for number in range(7)]
    forgotten(conn)
    _, count, changed = night(conn, limit=limit, most=most)
    assert (count, changed) == (len(payments), Compared(3, opened=3))


def test_what_changed_before_its_time_is_not_looked_at(conn: Connection) -> None:
    p: dict[str, Any] = wrong(conn)
    forgotten(conn)
    conn.execute("alter table payments disable trigger user")
    conn.execute("update payments set updated_at = now() - interval '91 days' where id = %(id)s", p)
    assert night(conn) == (1, 0, Compared())


def test_a_night_of_the_worker_locks_what_is_amiss_and_says_what_it_found(hand: Hand) -> None:
    met(hand.connection)
    wrong(hand.connection)
    forgotten(hand.connection)
    before = last_locked(hand.connection)
    request_runs_once(hand.runtime)
    compare_night_once(hand.runtime)
    after = last_locked(hand.connection)
    assert {state for state in after if after[state] != before[state]} == {"failed"}
    [row] = hand.connection.execute("select status, found from reconciliation_runs where kind = 'nightly'").fetchall()
    assert row == {"status": "finished", "found": {"payments": 2, "opened": 1, "closed": 0}}
