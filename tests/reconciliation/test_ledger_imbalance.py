"""The books compared with themselves: what is out of balance is found wherever it is, and closes by no rule."""

from __future__ import annotations

from typing import Any

import pytest

from app.db import Tx
from app.services.reconciliation import LedgerPlace, compare_ledger, preview_ledger
from jobs.provider_runs import compare_ledger_once, request_runs_once
from tests import factories
from tests.factories import Connection
from tests.fixtures.worker import Hand
from tests.ledger.books import credit, post
from tests.reconciliation.comparing import met

OPEN = "select subject, ref, expected, actual, severity from discrepancies where closed_at is null order by subject"


def tampered(conn: Connection, statement: str, *params: Any) -> None:
    """What only a superuser can do, with the guards off."""
    conn.execute("set constraints all immediate")
    for table in ("ledger_lines", "ledger_balances"):
        conn.execute(f"alter table {table} disable trigger user")
    conn.execute(statement, params)  # type: ignore[arg-type]


def walk(conn: Connection, *, limit: int) -> int:
    """The whole ledger, so many at a time."""
    at: LedgerPlace | None = LedgerPlace()
    opened = 0
    while at is not None:
        with factories.acting(conn, "reconciler"):
            found, at = compare_ledger(Tx(conn), at, limit=limit, detected_by="daily")
        opened += found
    return opened


@pytest.mark.parametrize("limit", [1, 1_000])
def test_an_entry_that_is_not_zero_and_a_balance_that_is_not_its_lines_are_found(conn: Connection, limit: int) -> None:
    for _ in range(2):
        met(conn)
    merchant_id = factories.merchant(conn)["id"]
    entry = post(conn, merchant_id, *credit(merchant_id, 10))
    other = factories.merchant(conn)["id"]
    post(conn, other, *credit(other, 10))
    assert walk(conn, limit=limit) == 0
    tampered(conn, "update ledger_lines set amount = 13 where entry_id = %s and amount = 10", entry)
    tampered(conn, "update ledger_balances set amount = -7 where merchant_id = %s", other)
    assert walk(conn, limit=limit) == 2
    assert [tuple(row.values()) for row in conn.execute(OPEN)] == [
        (f"ledger_account/merchant:{other}:available", "usd", -10, -7, "critical"),
        (f"ledger_entry/{entry}", "usd", 0, 3, "critical"),
    ]


def test_lines_without_a_balance_and_entries_without_lines_are_found(conn: Connection) -> None:
    merchant_id = factories.merchant(conn)["id"]
    entry = post(conn, merchant_id, *credit(merchant_id, 10))
    tampered(conn, "delete from ledger_balances where merchant_id = %s", merchant_id)
    assert walk(conn, limit=10) == 1
    tampered(conn, "delete from ledger_lines where entry_id = %s", entry)
    assert walk(conn, limit=10) == 1
    assert {row["subject"] for row in conn.execute(OPEN)} == {
        f"ledger_account/merchant:{merchant_id}:available", f"ledger_entry/{entry}",
    }  # fmt: skip


def test_it_is_opened_once_and_stays_until_a_person_closes_it(conn: Connection) -> None:
    merchant_id = factories.merchant(conn)["id"]
    post(conn, merchant_id, *credit(merchant_id, 10))
    tampered(conn, "update ledger_balances set amount = -7")
    assert [walk(conn, limit=10) for _ in range(2)] == [1, 0]
    tampered(conn, "update ledger_balances set amount = -10")
    assert walk(conn, limit=10) == 0
    assert len(conn.execute(OPEN).fetchall()) == 1


def test_a_preview_says_what_a_walk_would_open_and_opens_nothing(conn: Connection) -> None:
    merchant_id = factories.merchant(conn)["id"]
    post(conn, merchant_id, *credit(merchant_id, 10))
    tampered(conn, "update ledger_balances set amount = -7")
    with factories.acting(conn, "operator"):
        plan, following = preview_ledger(Tx(conn), LedgerPlace("accounts"), limit=10)
    assert [(row["type"], row["expected"], row["actual"]) for row in plan] == [("ledger_imbalance", -10, -7)]
    assert (following, conn.execute(OPEN).fetchall()) == (None, [])


def test_the_clock_walks_the_ledger_once_a_day(hand: Hand) -> None:
    conn = hand.connection
    merchant_id = factories.merchant(conn)["id"]
    post(conn, merchant_id, *credit(merchant_id, 10))
    tampered(conn, "update ledger_balances set amount = -7")
    request_runs_once(hand.runtime)
    while compare_ledger_once(hand.runtime):
        pass
    assert [row["actual"] for row in conn.execute(OPEN)] == [-7]
    runs = conn.execute("select status, found from reconciliation_runs where kind = 'ledger'").fetchall()
    assert runs[0] == {"status": "finished", "found": {"pages": 2, "opened": 1}}
