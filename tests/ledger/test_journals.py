"""Which lines each event posts, on our side and the provider's; clearing meets in the middle, in any order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from app.config import PLATFORM_MERCHANT_ID
from tests import factories
from tests.factories import Connection
from tests.ledger.books import balances, books, drift, fact, handle, handle_facts, make_available

ORDERS = sorted(set(itertools.permutations(["credit_merchant", "release_funds", "credit_merchant"])))
IN_PENDING = {"clearing:stripe": {"usd": 1_000}, "merchant:pending": {"usd": -1_000}}
IN_AVAILABLE = {"clearing:stripe": {"usd": 1_000}, "merchant:available": {"usd": -1_000}}


def test_a_confirmed_payment_is_owed_to_its_merchant_pending(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    handle(conn, "credit_merchant", p)
    assert books(conn, payment_id=p["id"]) == IN_PENDING
    assert balances(conn, p["merchant_id"]) == {("merchant:pending", "usd"): -1_000}


@pytest.mark.parametrize("order", ORDERS)
def test_credit_and_release_end_available_in_any_order_and_however_often(conn: Connection, order: Any) -> None:
    p = factories.payment(conn, "settled")
    for handler in order:
        handle(conn, handler, p)
    assert books(conn, payment_id=p["id"]) == IN_AVAILABLE
    assert balances(conn, p["merchant_id"]) == {("merchant:available", "usd"): -1_000}
    assert drift(conn) == []


def test_what_was_credited_before_is_released_when_it_settles(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    other = factories.payment(conn, "confirmed", merchant_id=p["merchant_id"], amount=70)
    for each in (p, other):
        handle(conn, "credit_merchant", each)
    p = factories.advance(conn, p, "settled")
    for _ in range(2):
        handle(conn, "release_funds", p)
    assert books(conn, payment_id=p["id"]) == IN_AVAILABLE
    assert balances(conn, p["merchant_id"]) == {("merchant:available", "usd"): -1_000, ("merchant:pending", "usd"): -70}


def test_a_payment_that_was_adopted_is_credited(conn: Connection) -> None:
    p = factories.advance(conn, factories.payment(conn, "failed"), "confirmed")
    wakes = conn.execute(
        "select d.topic from deliveries d where d.payment_id = %s and d.handler = 'credit_merchant'", [p["id"]]
    ).fetchall()
    assert wakes == [{"topic": "payment.adopted"}]


def test_a_charge_is_cash_at_the_provider_its_fee_and_the_end_of_clearing(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    fact(conn, p)
    handle_facts(conn)
    assert books(conn, payment_id=p["id"]) == {
        "stripe:pending": {"usd": 941}, "provider_fees": {"usd": 59}, "clearing:stripe": {"usd": -1_000},
    }  # fmt: skip
    handle(conn, "credit_merchant", p)
    assert "clearing:stripe" not in books(conn, payment_id=p["id"])


def test_a_line_that_turns_available_moves_its_net_whatever_is_told_first(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    make_available(conn, fact(conn, p))
    handle_facts(conn, newest_first=True)
    handle_facts(conn)
    assert books(conn, payment_id=p["id"]) == {
        "stripe:available": {"usd": 941}, "provider_fees": {"usd": 59}, "clearing:stripe": {"usd": -1_000},
    }  # fmt: skip


def test_a_line_that_is_available_at_once_never_was_pending(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    fact(conn, p, status="available")
    handle_facts(conn)
    assert books(conn, payment_id=p["id"])["stripe:available"] == {"usd": 941}
    assert conn.execute("select from ledger_accounts where code = 'stripe:pending'").fetchone() is None


def test_an_unmatched_line_waits_in_suspense_and_leaves_it_when_its_payment_is_found(conn: Connection) -> None:
    line = fact(conn, None)
    handle_facts(conn)
    assert books(conn) == {
        "stripe:pending": {"usd": 941}, "provider_fees": {"usd": 59}, "suspense:stripe": {"usd": -1_000},
    }  # fmt: skip
    p = factories.payment(conn, "confirmed")
    with factories.acting(conn, "worker"):
        conn.execute(
            "update provider_transactions set merchant_id = %s, payment_id = %s where ref = %s",
            [p["merchant_id"], p["id"], line["ref"]],
        )
    handle_facts(conn)
    assert books(conn) == {
        "stripe:pending": {"usd": 941}, "provider_fees": {"usd": 59}, "clearing:stripe": {"usd": -1_000},
    }  # fmt: skip
    assert books(conn, payment_id=p["id"]) == {"suspense:stripe": {"usd": 1_000}, "clearing:stripe": {"usd": -1_000}}


@pytest.mark.parametrize(
    "kind, account",
    [
        ("payout", "cash_in_transit"),
        ("risk_reserved_funds", "stripe:reserved"),
        ("fee", "provider_fees"),
        ("network_cost", "provider_fees"),
        ("other_adjustment", "suspense:stripe"),
    ],
)
def test_a_line_about_no_payment_stands_against_what_its_kind_says(conn: Connection, kind: str, account: str) -> None:
    fact(conn, None, kind=kind, gross=-500, fee=0, status="available")
    handle_facts(conn)
    assert books(conn) == {"stripe:available": {"usd": -500}, account: {"usd": 500}}
    assert books(conn, merchant_id=PLATFORM_MERCHANT_ID) == books(conn)


def test_a_charge_paid_out_in_another_currency_goes_through_fx(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed", currency="eur", amount=2_000)
    fact(conn, p, currency="usd", gross=2_180, fee=93)
    handle_facts(conn)
    handle(conn, "credit_merchant", p)
    assert books(conn, payment_id=p["id"]) == {
        "merchant:pending": {"eur": -2_000}, "fx": {"eur": 2_000, "usd": -2_180},
        "stripe:pending": {"usd": 2_087}, "provider_fees": {"usd": 93},
    }  # fmt: skip


def test_a_late_match_in_another_currency_goes_through_fx_too(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed", currency="eur", amount=2_000)
    line = fact(conn, None, gross=2_180)
    with factories.acting(conn, "worker"):
        conn.execute(
            "update provider_transactions set merchant_id = %s, payment_id = %s where ref = %s",
            [p["merchant_id"], p["id"], line["ref"]],
        )
    handle_facts(conn)
    assert books(conn, payment_id=p["id"]) == {
        "clearing:stripe": {"eur": -2_000}, "fx": {"eur": 2_000, "usd": -2_180}, "suspense:stripe": {"usd": 2_180},
    }  # fmt: skip


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("child", ["refund", "dispute"])
def test_a_line_in_another_currency_whose_refund_or_dispute_is_found_later_leaves_suspense(
    conn: Connection, child: str, newest_first: bool
) -> None:
    p = factories.payment(conn, "confirmed", currency="eur", amount=2_000)
    line = fact(conn, p, kind=child, currency="usd", gross=-1_090, fee=0)
    made = getattr(factories, child)(conn, p, amount=1_000, state="pending" if child == "refund" else "open")
    with factories.acting(conn, "worker"):
        conn.execute(f"update provider_transactions set {child}_id = %s where ref = %s", [made["id"], line["ref"]])
    for _ in range(2):
        handle_facts(conn, newest_first=newest_first)
    assert books(conn, payment_id=p["id"]) == {
        "clearing:stripe": {"eur": 1_000}, "fx": {"eur": -1_000, "usd": 1_090}, "stripe:pending": {"usd": -1_090},
    }  # fmt: skip


def test_a_line_in_the_payments_own_currency_is_cleared_once_however_late_its_refund_is_found(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    line = fact(conn, p, kind="refund", gross=-400, fee=0)
    r = factories.refund(conn, p, "pending", amount=400)
    with factories.acting(conn, "worker"):
        conn.execute("update provider_transactions set refund_id = %s where ref = %s", [r["id"], line["ref"]])
    handle_facts(conn)
    assert books(conn, payment_id=p["id"]) == {"clearing:stripe": {"usd": 400}, "stripe:pending": {"usd": -400}}


@pytest.mark.parametrize("currency, amount", [("jpy", 1_050), ("kwd", 1_230)])
def test_zero_and_three_decimal_currencies_are_booked_in_their_own_units(
    conn: Connection, currency: str, amount: int
) -> None:
    p = factories.payment(conn, "settled", currency=currency, amount=amount)
    fact(conn, p, fee=30, status="available")
    handle_facts(conn)
    for handler in ("credit_merchant", "release_funds"):
        handle(conn, handler, p)
    assert books(conn, payment_id=p["id"]) == {
        "stripe:available": {currency: amount - 30}, "provider_fees": {currency: 30},
        "merchant:available": {currency: -amount},
    }  # fmt: skip


def test_every_journal_here_sums_to_zero(conn: Connection) -> None:
    """`conn` never commits, so what COMMIT would check is checked here, on one of each."""
    p = factories.payment(conn, "settled", currency="eur")
    for line in (
        fact(conn, p, currency="usd", gross=1_090),
        fact(conn, None),
        fact(conn, None, kind="payout", gross=-5, fee=0),
    ):
        make_available(conn, line)
    handle_facts(conn)
    for handler in ("credit_merchant", "release_funds"):
        handle(conn, handler, p)
    conn.execute("set constraints all immediate")
    kinds = {row["kind"] for row in conn.execute("select kind from ledger_entries")}
    assert kinds == {"payment_credited", "fact_recorded", "fact_available"}
