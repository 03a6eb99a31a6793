"""Somebody has to say in time that they look after what does not meet; that nobody did is told once, by the clock."""

from __future__ import annotations

import pytest

from app.db import Tx
from app.services import discrepancies
from app.services.status import attention, overview
from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.worker import Hand
from tests.ledger import books
from tests.reconciliation.comparing import compare, opened

# Before how many minutes nothing is told, and after how many it is: a working day is longer over a weekend.
DEADLINES = {"critical": (59, 61), "high": (239, 241), "medium": (1_439, 3 * 1_440 + 1), "low": (100_000, None)}


def found(conn: Connection) -> Row:
    """A critical one, just opened."""
    p = factories.payment(conn, "failed")
    books.fact(conn, p)
    compare(conn, p)
    [row] = opened(conn, p)
    return row


def made(conn: Connection, row: Row, **columns: object) -> None:
    """It was opened so many minutes ago, and this bad."""
    conn.execute("alter table discrepancies disable trigger user")
    conn.execute(
        "update discrepancies set severity = %(severity)s,"
        " first_seen_at = clock_timestamp() - make_interval(mins => %(minutes)s) where id = %(id)s",
        {"id": row["id"], "severity": row["severity"], **columns},
    )
    for trigger in ("200_check", "500_audit", "700_event"):
        conn.execute(f"alter table discrepancies enable always trigger discrepancies_{trigger}")


def told(conn: Connection) -> int:
    with factories.acting(conn, "reconciler"):
        return discrepancies.tell_unacknowledged(Tx(conn), limit=100)


def topics(conn: Connection) -> list[str]:
    rows = conn.execute("select topic from events where topic like 'discrepancy.%' order by id").fetchall()
    return [row["topic"] for row in rows]


@pytest.mark.parametrize("severity, early, late", [(severity, *minutes) for severity, minutes in DEADLINES.items()])
def test_each_severity_has_its_deadline_and_a_low_one_may_wait(
    conn: Connection, severity: str, early: int, late: int | None
) -> None:
    row = found(conn)
    made(conn, row, severity=severity, minutes=early)
    assert told(conn) == 0
    if late is not None:
        made(conn, row, severity=severity, minutes=late)
        assert told(conn) == 1


@pytest.mark.parametrize(
    "at, within, due",
    [
        ("2026-11-27 10:00Z", "24 hours", "2026-11-28 10:00Z"),  # a Friday, and hours are hours
        ("2026-11-26 10:00Z", "1 day", "2026-11-27 10:00Z"),
        ("2026-11-27 10:00Z", "1 day", "2026-11-30 10:00Z"),
        ("2026-11-28 10:00Z", "1 day", "2026-11-30 10:00Z"),
        ("2026-11-27 10:00Z", "2 days", "2026-12-01 10:00Z"),
        ("2026-11-28 10:00Z", "5 days", "2026-12-04 10:00Z"),
        ("2026-11-25 10:00Z", "10 days", "2026-12-09 10:00Z"),
    ],
)
def test_a_deadline_in_days_counts_working_days(conn: Connection, at: str, within: str, due: str) -> None:
    row = conn.execute(
        "select working_days_after(%s::timestamptz, %s::interval) = %s::timestamptz as so", [at, within, due]
    ).fetchone()
    assert row == {"so": True}


def test_it_is_told_once_on_the_bus_and_in_the_audit_and_it_stays_open(conn: Connection) -> None:
    row = found(conn)
    made(conn, row, minutes=61)
    assert [told(conn), told(conn)] == [1, 0]
    assert topics(conn) == ["discrepancy.opened", "discrepancy.unacknowledged"]
    now = discrepancies.get(Tx(conn), row["id"])
    assert (now["status"], now["acknowledge_due_at"] < now["unacknowledged_at"]) == ("open", True)
    assert [deed["action"] for deed in discrepancies.history(Tx(conn), now)] == topics(conn)


def test_what_somebody_looks_after_in_time_is_never_told(conn: Connection) -> None:
    row = found(conn)
    with factories.acting(conn, "operator"):
        discrepancies.acknowledge(Tx(conn), row["id"], by="ann", note="asking them")
    made(conn, row, minutes=61)
    assert told(conn) == 0


def test_status_says_so_until_somebody_does(conn: Connection) -> None:
    row = found(conn)
    made(conn, row, severity="high", minutes=241)
    assert attention(overview(Tx(conn))) == []
    told(conn)
    assert attention(overview(Tx(conn))) == [
        "high discrepancies: 1, past their deadline: 0, not acknowledged in time: 1"
    ]
    with factories.acting(conn, "operator"):
        discrepancies.acknowledge(Tx(conn), row["id"], by="ann", note="asking them")
    assert attention(overview(Tx(conn))) == []


def test_the_workers_clock_tells_it(hand: Hand) -> None:
    row = found(hand.connection)
    made(hand.connection, row, minutes=61)
    assert [hand.sweep()["unacknowledged"], hand.sweep()["unacknowledged"]] == [1, 0]
