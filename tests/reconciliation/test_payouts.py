"""Payouts are the sum of their lines; one that nobody itemises is read again by the clock, and flagged by it."""

from __future__ import annotations

from typing import Any

import pytest

from app.config import PLATFORM_MERCHANT_ID, Timing
from app.db import Tx
from app.services import provider_book
from jobs.provider_runs import ask_about_payouts_once
from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.worker import Hand
from tests.reconciliation.comparing import OPEN, payout
from tests.reconciliation.test_polling import rows, settled


def compared(conn: Connection, o: Row) -> list[Row]:
    """What is open about payouts once the clock has come by and this one was read."""
    with factories.acting(conn, "reconciler"):
        provider_book.compare_unread_payouts(Tx(conn), limit=10, timing=Timing())
    if o["lines_read_at"] is not None:
        read(conn, o)
    return conn.execute(OPEN, [PLATFORM_MERCHANT_ID]).fetchall()


def read(conn: Connection, o: Row) -> None:
    names = (o["merchant_id"], o["provider"], o["account"], o["ref"])
    with factories.acting(conn, "reconciler"):
        provider_book.lines_are_read(Tx(conn), *names)
        provider_book.compare_payout(Tx(conn), *names, timing=Timing())


@pytest.mark.parametrize("columns, flagged", [({}, []), ({"amount": 893}, [(893, 900)])])
def test_a_payout_that_was_itemised_is_the_sum_of_its_lines(
    conn: Connection, columns: dict[str, Any], flagged: list[tuple[int, int]]
) -> None:
    found = compared(conn, payout(conn, 1_000, -100, **columns))
    assert [(row["expected"], row["actual"]) for row in found] == flagged


@pytest.mark.parametrize("status", ["pending", "in_transit", "paid"])
def test_one_that_nobody_itemised_for_three_days_after_it_should_have_arrived_is_flagged(
    conn: Connection, status: str
) -> None:
    paid_at = "now" if status == "paid" else None
    o = payout(conn, status=status, paid_at=paid_at, arrives_at=ago(conn, "71 hours 59 minutes"))
    assert compared(conn, o) == []
    late = payout(conn, status=status, paid_at=paid_at, arrives_at=ago(conn, "72 hours 1 second"))
    for _ in range(2):
        [found] = compared(conn, late)
    assert (found["type"], found["subject"]) == ("payout_mismatch", f"payout/stripe/default/{late['ref']}")
    assert (found["expected"], found["actual"], found["detected_by"]) == (1_000, None, "clock")
    assert (found["occurrences"], found["evidence_at"] < found["first_seen_at"]) == (1, True)


def ago(conn: Connection, interval: str) -> Any:
    row = conn.execute("select clock_timestamp() - %s::interval as at", [interval]).fetchone()
    assert row is not None
    return row["at"]


def test_it_closes_by_itself_when_it_is_read_and_agrees_and_not_when_it_does_not(conn: Connection) -> None:
    good, bad = (payout(conn, arrives_at="2026-01-01", amount=amount) for amount in (500, 700))
    assert len(compared(conn, good)) == 2
    for o in (good, bad):
        with factories.acting(conn, "worker"):
            factories._insert(conn, "provider_transactions", line_of(o, 500))
        read(conn, o)
    [found] = conn.execute(OPEN, [PLATFORM_MERCHANT_ID]).fetchall()
    assert (found["subject"].endswith(bad["ref"]), found["expected"], found["actual"]) == (True, 700, 500)


def line_of(o: Row, net: int) -> Row:
    return {
        "merchant_id": o["merchant_id"], "provider": "stripe", "account": "default", "ref": f"txn_{o['ref']}",
        "kind": "adjustment", "currency": "usd", "gross": net, "fee": 0, "net": net, "status": "available",
        "available_on": "now", "created_at_provider": "now", "payout_ref": o["ref"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "columns", [{"automatic": False}, {"status": "canceled"}, {"status": "failed", "failure_code": "account_closed"}]
)
def test_what_is_never_itemised_is_not_waited_for(conn: Connection, columns: dict[str, Any]) -> None:
    assert compared(conn, payout(conn, arrives_at="2026-01-01", **columns)) == []


def test_one_that_was_not_itemised_when_it_was_read_is_read_again_by_the_clock_alone(
    hand: Hand, sandbox: Sandbox
) -> None:
    settled(hand)
    hand.until(lambda: sandbox.ledger()["summary"]["balance"]["available"].get("usd", 0) > 0)
    made = sandbox.control("POST", "payouts")
    payout(hand.connection, ref=made["id"], amount=made["amount"], destination="ba_sandbox")
    assert ask_about_payouts_once(hand.runtime) == 0, "it was read just now"
    hand.retime(payout_again=0.2)
    hand.until(lambda: rows(hand, "select from payouts where lines_read_at is not null and status = 'paid'"))
    asked = rows(hand, "select distinct asked_by, kind from reconciliation_runs")
    assert asked == [{"asked_by": "clock", "kind": "payout"}]
    assert rows(hand, "select type from discrepancies") == []
    hand.until(lambda: not hand.open_deliveries())
    assert ask_about_payouts_once(hand.runtime) == 0, "nothing is left to be read"
