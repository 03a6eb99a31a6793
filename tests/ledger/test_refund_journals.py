"""J3 to J7: what refunds and disputes take from a merchant and give back, each once, in any order of posting."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from app.db import Tx
from app.services import ledger
from tests import factories
from tests.factories import Connection, Row
from tests.ledger.books import balances, books, drift, fact, handle, handle_children

DISPUTE_FEE = 1_500


@pytest.fixture
def paid(conn: Connection) -> Callable[..., Row]:
    """A credited payment of 10.00, its merchant without a price unless `schedule` names its columns."""

    def make(state: str = "confirmed", **schedule: Any) -> Row:
        merchant = factories.merchant(conn)
        if schedule:
            price(conn, merchant["id"], **schedule)
        p = factories.payment(conn, state, merchant_id=merchant["id"], amount=1_000)
        handle(conn, "credit_merchant", p)
        if state == "settled":
            handle(conn, "release_funds", p)
        return p

    return make


def price(conn: Connection, merchant_id: Any, **columns: Any) -> None:
    with factories.acting(conn, "operator"):
        factories._insert(conn, "fee_schedules", {"name": "plain", "version": 1, "bps": 0} | columns)
        conn.execute("update merchants set fee_schedule = 'plain' where id = %s", [merchant_id])


def owed(conn: Connection, p: Row) -> dict[str, int]:
    held = {code: amount for (code, _), amount in balances(conn, p["merchant_id"]).items()}
    return {code.removeprefix("merchant:"): -amount for code, amount in held.items()}


def booked(conn: Connection, p: Row) -> dict[str, int]:
    return {account: held["usd"] for account, held in books(conn, payment_id=p["id"]).items()}


def line(conn: Connection, p: Row, gross: int, **columns: Any) -> None:
    fact(conn, p, **{"kind": "x", "gross": gross, "fee": 0, **columns})


@pytest.mark.parametrize("state, balance", [("confirmed", "pending"), ("settled", "available")])
def test_a_refund_is_taken_when_it_is_asked_for_and_paid_when_it_is_booked(
    conn: Connection, paid: Callable[..., Row], state: str, balance: str
) -> None:
    p = paid(state)
    r = factories.refund(conn, p, "pending", amount=400)
    handle_children(conn, p)
    assert owed(conn, p) == {balance: 600}
    assert booked(conn, p)["refunds_in_flight"] == -400
    line(conn, p, -400, refund_id=r["id"])
    factories.advance_refund(conn, r, "succeeded")
    for _ in range(2):
        handle_children(conn, p)
    assert "refunds_in_flight" not in booked(conn, p)
    assert booked(conn, p)["clearing:stripe"] == 600
    assert (owed(conn, p), drift(conn)) == ({balance: 600}, [])


@pytest.mark.parametrize("succeeded", [False, True], ids=["before it was paid", "after"])
@pytest.mark.parametrize("newest_first", [False, True])
def test_a_refund_that_fails_is_credited_again_once(
    conn: Connection, paid: Callable[..., Row], succeeded: bool, newest_first: bool
) -> None:
    p = paid("settled")
    r = factories.refund(conn, p, "succeeded" if succeeded else "pending", amount=400)
    if not newest_first:
        handle_children(conn, p)
    factories.advance_refund(conn, r, "failed")
    for _ in range(2):
        handle_children(conn, p, newest_first=newest_first)
    assert owed(conn, p) == {"available": 1_000}
    assert booked(conn, p) == {"clearing:stripe": 1_000, "merchant:available": -1_000}


def test_a_merchant_who_was_never_credited_pays_for_no_refund(conn: Connection) -> None:
    """Money on a canceled payment that somebody sends back at the provider."""
    p = factories.payment(conn, "canceled")
    factories.refund(conn, p, "succeeded")
    d = factories.dispute(conn, p)
    line(conn, p, -1_000, dispute_id=d["id"])
    handle_children(conn, p)
    assert booked(conn, p) == {}


def test_what_was_refunded_before_settlement_leaves_nothing_in_pending(
    conn: Connection, paid: Callable[..., Row]
) -> None:
    p = paid("confirmed")
    factories.refund(conn, p, "pending", amount=400)
    handle_children(conn, p)
    factories.advance(conn, p, "settled")
    handle(conn, "release_funds", p)
    factories.refund(conn, p, "pending", amount=100)
    handle_children(conn, p)
    assert owed(conn, p) == {"available": 500}


# price -> what a dispute costs, and what of it comes back when it is won
PRICES = [
    ({}, 0, 0),
    ({"dispute_fee_bps": 10_000}, DISPUTE_FEE, 0),
    ({"dispute_fee_bps": 0}, 0, 0),
    ({"dispute_fee_bps": 5_000, "dispute_fee_returned": True}, 750, 750),
    ({"dispute_fee_bps": 12_000, "dispute_fee_returned": True}, 1_800, 1_800),
]


@pytest.mark.parametrize("schedule, fee, returned", PRICES)
def test_a_dispute_takes_the_money_and_the_fee_of_the_price_and_gives_back_what_the_price_says(
    conn: Connection, paid: Callable[..., Row], schedule: dict[str, Any], fee: int, returned: int
) -> None:
    p = paid("settled", **schedule)
    d = factories.dispute(conn, p)
    line(conn, p, -1_000, fee=DISPUTE_FEE, dispute_id=d["id"])
    handle_children(conn, p)
    assert owed(conn, p).get("available", 0) == -fee
    line(conn, p, 1_000, dispute_id=d["id"], created_at_provider="tomorrow")
    handle_children(conn, p)
    assert owed(conn, p).get("available", 0) == 1_000 - fee + returned
    assert -booked(conn, p).get("dispute_fee_income", 0) == fee - returned


def test_a_default_price_passes_the_providers_dispute_fee_on(conn: Connection, paid: Callable[..., Row]) -> None:
    p = paid("settled", bps=250)
    d = factories.dispute(conn, p)
    line(conn, p, -1_000, fee=DISPUTE_FEE, dispute_id=d["id"])
    handle_children(conn, p)
    assert booked(conn, p)["dispute_fee_income"] == -DISPUTE_FEE


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_a_reopened_dispute_withdraws_again_in_any_order_of_posting(
    conn: Connection, paid: Callable[..., Row], order: tuple[int, ...]
) -> None:
    """Withdrawn, reinstated, withdrawn: one journal for each line, each fee once."""
    p = paid("settled", dispute_fee_returned=True)
    d = factories.dispute(conn, p)
    for n, gross in enumerate((-1_000, 1_000, -1_000)):
        fee = DISPUTE_FEE if gross < 0 else 0
        line(conn, p, gross, fee=fee, dispute_id=d["id"], created_at_provider=f"2026-07-0{n + 1}")
    events = conn.execute("select id from events where topic like 'dispute.funds_%%' order by id").fetchall()
    for n in (*order, *order):
        with factories.acting(conn, "worker"):
            ledger.post_dispute(Tx(conn), p["merchant_id"], events[n]["id"])
            ledger.close(Tx(conn))
    assert owed(conn, p) == {"available": -DISPUTE_FEE}
    assert booked(conn, p)["dispute_fee_income"] == -DISPUTE_FEE
    assert drift(conn) == []
