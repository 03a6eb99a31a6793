"""A refund that nothing is heard of for too long is a discrepancy of its payment, by the clock alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.shop import Shop
from tests.ledger.books import handle_children
from tests.reconciliation.comparing import compare, flagged, line, met, next_comparison, opened

AT_ONCE = 0.0


def asked(conn: Connection, p: Row, state: str, **columns: Any) -> Row:
    """A refund asked of us, in this state, with what its payment reserves for it."""
    operation = factories.operation(conn, p, "refund", amount=400)
    r = factories.refund(conn, p, state, amount=400, operation_id=operation["id"], **columns)
    with factories.acting(conn, "worker"):
        factories.update_payment(conn, p, amount_refund_pending=400)
    handle_children(conn, p)
    return r


@pytest.mark.parametrize(
    "state, kind",
    [
        ("requested", "stale_state"),
        ("submitting", "stale_state"),
        ("outcome_unknown", "outcome_unknown_aged"),
        ("pending", "stale_state"),
    ],
)
def test_silence_about_a_refund_is_flagged_after_its_deadline_and_not_before(
    conn: Connection, state: str, kind: str
) -> None:
    p = met(conn)
    r = asked(conn, p, state)
    assert flagged(conn, p) == []
    assert (next_comparison(conn, p) or 0) > 30
    assert flagged(conn, p, scale=AT_ONCE) == [kind]
    [found] = opened(conn, p)
    assert (found["ref"], found["expected"], found["currency"]) == (f"refund/{r['id']}", 400, "usd")


def test_it_closes_by_itself_when_the_refund_is_over(conn: Connection) -> None:
    p = met(conn)
    r = asked(conn, p, "pending")
    assert flagged(conn, p, scale=AT_ONCE) == ["stale_state"]
    factories.advance_refund(conn, r, "succeeded")
    line(conn, p, "refund", -400, refund_id=r["id"])
    with factories.acting(conn, "worker"):
        factories.update_payment(conn, p, amount_refund_pending=0, amount_refunded=400)
    handle_children(conn, p)
    assert compare(conn, p)["closed"] == 1
    assert (opened(conn, p), next_comparison(conn, p)) == ([], None)


def test_a_banks_refund_may_take_longer_than_a_cards(conn: Connection) -> None:
    due = {}
    for method in ("card", "us_bank_account"):
        p = met(conn, method=method)
        asked(conn, p, "pending")
        compare(conn, p)
        due[method] = next_comparison(conn, p) or 0
    assert due["card"] < due["us_bank_account"]


def test_a_refund_whose_only_wake_up_is_lost_is_flagged_by_the_clock_and_closes_when_it_is_made(shop: Shop) -> None:
    p = shop.pay()
    shop.refund(p, 400)
    conn = shop.hand.connection
    conn.execute("delete from procrastinate_jobs")
    conn.execute("update deliveries set job_id = null, due_at = 'tomorrow' where status = 'pending'")
    while not (found := opened(conn, p)):
        shop.hand.sweep()
    assert [(row["type"], row["detected_by"]) for row in found] == [("stale_state", "realtime")]
    conn.execute("update deliveries set due_at = clock_timestamp() where status = 'pending'")
    shop.hand.until(lambda: not opened(conn, p))
    assert shop.quiet(p)["amount_refunded"] == 400
