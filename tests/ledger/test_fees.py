"""Our fee: by the schedule in force when the payment was made, on what was captured, rounded half up, once."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests import factories
from tests.factories import Connection, Row
from tests.ledger.books import books, handle
from tests.sql.refusal import ACCEPTED, answer

LARGEST = 2**53 - 1
MINE = " where merchant_id = %(merchant_id)s and id = %(id)s"


def fee_of(amount: int, bps: int, fixed: int) -> int:
    """Exact, then rounded half up: the model."""
    return floor(Fraction(amount * bps, 10_000) + Fraction(1, 2)) + fixed


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(amount=st.integers(0, LARGEST), bps=st.integers(0, 10_000), fixed=st.integers(0, 10**6))
@example(amount=50, bps=100, fixed=0)  # exactly a half goes up
@example(amount=49, bps=100, fixed=0)
@example(amount=LARGEST, bps=10_000, fixed=10**6)
@example(amount=1_050, bps=290, fixed=30)
def test_a_fee_is_what_the_plain_model_says(conn: Connection, amount: int, bps: int, fixed: int) -> None:
    assert conn.execute("select compute_fee(%s, %s, %s) as fee", [amount, bps, fixed]).fetchone() == {
        "fee": fee_of(amount, bps, fixed)
    }


def schedule(conn: Connection, version: int, bps: int, *, effective_at: str = "yesterday", **fixed: int) -> None:
    with factories.acting(conn, "operator"):
        conn.execute(
            "insert into fee_schedules (name, version, bps, effective_at) values ('standard', %s, %s, %s)",
            [version, bps, effective_at],
        )
        for currency, amount in fixed.items():
            row = [f"standard@{version}", currency, amount]
            conn.execute("insert into fee_schedule_fixed values (%s, %s, %s)", row)


def charged_merchant(conn: Connection, name: str | None = "standard") -> Row:
    merchant = factories.merchant(conn)
    with factories.acting(conn, "operator"):
        conn.execute("update merchants set fee_schedule = %s where id = %s", [name, merchant["id"]])
    return merchant


def credited(conn: Connection, p: Row) -> Row:
    handle(conn, "credit_merchant", p)
    row = conn.execute("select * from payments" + MINE, p).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("currency, amount, fee", [("usd", 1_050, 60), ("jpy", 1_050, 30), ("kwd", 12_340, 358)])
def test_the_fee_has_a_fixed_part_in_the_currencies_that_name_one(
    conn: Connection, currency: str, amount: int, fee: int
) -> None:
    schedule(conn, 1, 290, usd=30)
    p = factories.payment(conn, "confirmed", merchant_id=charged_merchant(conn)["id"], currency=currency, amount=amount)
    assert (p["fee_schedule"], p["fee"], credited(conn, p)["fee"]) == ("standard@1", None, fee)
    assert books(conn, payment_id=p["id"]) == {
        "clearing:stripe": {currency: amount},
        "merchant:pending": {currency: fee - amount}, "fee_revenue": {currency: -fee},
    }  # fmt: skip


def test_a_payment_keeps_the_version_it_was_made_under(conn: Connection) -> None:
    schedule(conn, 1, 100)
    merchant = charged_merchant(conn)
    p = factories.payment(conn, "confirmed", merchant_id=merchant["id"])
    schedule(conn, 2, 500)
    schedule(conn, 3, 900, effective_at="tomorrow")
    later = factories.payment(conn, "confirmed", merchant_id=merchant["id"])
    assert (credited(conn, p)["fee"], credited(conn, later)["fee"]) == (10, 50)


def test_the_fee_is_on_what_was_captured_and_is_told_in_the_audit(conn: Connection) -> None:
    schedule(conn, 1, 1_000)
    p = factories.payment(conn, "authorized", merchant_id=charged_merchant(conn)["id"])
    p = credited(conn, factories.advance(conn, p, "confirmed", amount_captured=600))
    assert p["fee"] == 60
    told = conn.execute(
        "select actor_id, body::jsonb #> '{after,fee}' as fee from audit_log"
        " where payment_id = %s and payment_version = %s",
        [p["id"], p["version"]],
    ).fetchone()
    assert told == {"actor_id": "credit_merchant", "fee": 60}


def test_a_merchant_without_a_schedule_pays_nothing(conn: Connection) -> None:
    schedule(conn, 1, 100)
    p = credited(conn, factories.payment(conn, "confirmed", merchant_id=charged_merchant(conn, None)["id"]))
    assert (p["fee_schedule"], p["fee"]) == (None, None)
    assert "fee_revenue" not in books(conn, payment_id=p["id"])


def test_a_fee_is_set_once_and_its_schedule_never_changes(conn: Connection) -> None:
    schedule(conn, 1, 100)
    p = factories.payment(conn, "confirmed", merchant_id=charged_merchant(conn)["id"])
    early = factories.payment(conn, "submitted", merchant_id=p["merchant_id"])
    assert answer(conn, "update payments set fee = 5" + MINE, early) == "payments_fee_only_once_confirmed"
    assert answer(conn, "update payments set fee = -5" + MINE, p) == "payments_fee_is_not_negative"
    assert answer(conn, "update payments set fee = 5" + MINE, p) == ACCEPTED
    assert answer(conn, "update payments set fee = 5" + MINE, credited(conn, p)) == "PB004"
    assert answer(conn, "update payments set fee_schedule = null" + MINE, p) == "PB004"
    free = factories.payment(conn, "confirmed")
    assert answer(conn, "update payments set fee = 5" + MINE, free) == "payments_fee_only_by_a_schedule"


def test_a_price_that_was_named_is_never_rewritten(conn: Connection) -> None:
    schedule(conn, 1, 100, usd=30)
    for statement in ("update fee_schedules set bps = 0", "delete from fee_schedule_fixed"):
        assert answer(conn, statement, actor="system") == "PB004"


def test_nobody_names_a_price_with_the_payment(conn: Connection) -> None:
    schedule(conn, 1, 100)
    p = factories.initiated(conn, factories.merchant(conn)["id"])
    statement = "insert into payments (merchant_id, fee_schedule, amount, currency) values (%s, 'standard@1', 5, 'usd')"
    assert answer(conn, statement, [p["merchant_id"]], actor="api") == "42501"


def test_a_schedule_that_is_not_in_force_refuses_the_payment(conn: Connection) -> None:
    schedule(conn, 1, 100, effective_at="tomorrow")
    merchant = charged_merchant(conn)
    statement = (
        "insert into payments (merchant_id, currency, amount, provider, provider_account, method, method_token)"
        " values (%(id)s, 'usd', 1000, 'stripe', 'default', 'card', 'pm_1')"
    )
    assert answer(conn, statement, merchant, actor="api") == "payments_fee_schedule_is_in_force"
