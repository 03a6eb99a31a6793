"""Each rule: what it flags, what it leaves alone, and that it closes by itself when the books meet again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from app.db import Tx
from app.model.snapshot import Fact
from app.model.states import State
from app.services import facts
from tests import factories
from tests.factories import Connection, Row
from tests.ledger import books
from tests.reconciliation.comparing import compare, flagged, line, met, next_comparison, opened

AT_ONCE = 0.0
TEN_MINUTES_ARE_A_MICROSECOND = 1 / 600e6
# What these states end by is a day of their own.
UNTIL = {"requires_action": "action_expires_at", "authorized": "capture_before"}
METHODS = ("card", "us_bank_account", "ach")
LINE = ("ref", "kind", "source_ref", "currency", "gross", "fee", "net", "status", "available_on")

Damage = Callable[[Connection], Row]


@pytest.mark.parametrize("state", ["confirmed", "settled", "refunded", "disputed", "charged_back"])
def test_books_that_meet_are_left_alone_however_long(conn: Connection, state: str) -> None:
    p = met(conn, state, settled=state not in ("confirmed", "settled"))
    if state == "refunded":
        line(conn, p, "refund", -p["amount"])
    if state in ("disputed", "charged_back"):
        line(conn, p, "dispute", -p["amount"])
    if state in ("confirmed", "settled"):
        assert flagged(conn, p) == []
        assert flagged(conn, p, scale=AT_ONCE) == []
    else:
        # until children post their journals the ledger alone is behind; and an open dispute waits for the bank
        waits = {"stale_state"} if state == "disputed" else set()
        assert set(flagged(conn, p, scale=AT_ONCE)) <= {"clearing_nonzero"} | waits


@pytest.mark.parametrize("state", ["initiated", "submitting", "submitted", "requires_action", "authorized"])
def test_silence_in_an_open_state_is_flagged_after_its_deadline_and_not_before(conn: Connection, state: str) -> None:
    p = factories.payment(conn, state)
    assert flagged(conn, p) == []
    assert next_comparison(conn, p) > 30
    if state not in UNTIL:
        assert flagged(conn, p, scale=AT_ONCE) == ["stale_state"]


@pytest.mark.parametrize("state", UNTIL)
def test_what_was_to_be_over_by_a_day_is_flagged_after_it(conn: Connection, state: str) -> None:
    p = factories.payment(conn, state)
    with factories.acting(conn, "worker"):
        factories.update_payment(conn, p, **{UNTIL[state]: datetime.now(UTC) - timedelta(days=2)})
    assert flagged(conn, p) == ["stale_state"]


def test_every_state_in_which_something_is_still_to_come_has_a_deadline_for_every_method(conn: Connection) -> None:
    rows = conn.execute(
        "select state, method from state_deadlines where type in ('stale_state', 'outcome_unknown_aged')"
    ).fetchall()
    at_rest = {"confirmed", "settled", "refunded", "charged_back", "returned", "failed", "canceled"}
    waits = {State(row["state"]) for row in rows}
    assert {state.value for state in State} - waits == at_rest
    assert {(row["state"], row["method"]) for row in rows} == {(s.value, method) for s in waits for method in METHODS}
    assert {(row["state"], row["method"]) for row in conn.execute("select state, method from state_deadlines")} == {
        (state.value, method) for state in set(State) - {State.FAILED, State.CANCELED} for method in METHODS
    }


def test_a_dispute_that_nobody_decides_is_flagged_after_120_days(conn: Connection) -> None:
    p = met(conn, "disputed", settled=True)
    d = factories.dispute(conn, p)
    line(conn, p, "dispute", -p["amount"], dispute_id=d["id"])
    books.handle_children(conn, p)
    assert flagged(conn, p) == []
    assert (next_comparison(conn, p) or 0) > 100 * 86_400
    assert flagged(conn, p, scale=AT_ONCE) == ["stale_state"]


def test_an_outcome_that_stays_unknown_is_flagged(conn: Connection) -> None:
    assert flagged(conn, factories.payment(conn, "outcome_unknown"), scale=AT_ONCE) == ["outcome_unknown_aged"]


def test_what_is_final_is_waited_for_no_more(conn: Connection) -> None:
    for p in (met(conn), factories.payment(conn, "failed"), factories.payment(conn, "canceled")):
        assert (flagged(conn, p), next_comparison(conn, p)) == ([], None)


def lost_by_the_provider(conn: Connection) -> Row:
    p = factories.payment(conn, "confirmed")
    books.handle(conn, "credit_merchant", p)
    return p


def another_amount(conn: Connection) -> Row:
    p = factories.payment(conn, "confirmed")
    books.handle(conn, "credit_merchant", p)
    line(conn, p, "charge", p["amount"] - 100, source_ref=p["latest_charge_ref"])
    return p


def another_currency(conn: Connection) -> Row:
    p = factories.payment(conn, "confirmed")
    line(conn, p, "charge", p["amount"], currency="eur", source_ref=p["latest_charge_ref"])
    return p


def charged_twice(conn: Connection) -> Row:
    p = met(conn)
    line(conn, p, "charge", p["amount"])
    return p


def money_on_a_failed_payment(conn: Connection) -> Row:
    p = factories.payment(conn, "failed")
    line(conn, p, "charge", p["amount"])
    return p


def too_dear(conn: Connection) -> Row:
    with factories.acting(conn, "operator"):
        conn.execute(
            "insert into provider_prices (provider, account, method, currency, bps, fixed)"
            " values ('stripe', 'default', 'card', 'usd', 290, 20)"
        )
    return met(conn)


def unsettled(conn: Connection) -> Row:
    return met(conn, "confirmed", available_on="now")


def behind(conn: Connection) -> Row:
    p = factories.payment(conn, "submitted")
    with factories.acting(conn, "worker"):
        return factories.update_payment(conn, p, provider_rank=50)


def refunded_elsewhere(conn: Connection) -> Row:
    p = met(conn)
    line(conn, p, "refund", -300)
    return p


def disputed_elsewhere(conn: Connection) -> Row:
    p = met(conn)
    line(conn, p, "dispute", -p["amount"])
    return p


def booked_once_too_often(conn: Connection) -> Row:
    p = met(conn)
    books.post(
        conn, p["merchant_id"], ("clearing:stripe", "usd", 250), ("losses", "usd", -250), payment_id=p["id"],
    )  # fmt: skip
    return p


def told_late_that_it_was_exchanged(conn: Connection, p: Row) -> None:
    said = conn.execute("select * from provider_transactions where payment_id = %(id)s", p).fetchone()
    assert said is not None
    fact = Fact(**{name: said[name] for name in LINE}, created_at=said["created_at_provider"], exchanged=True)
    with factories.acting(conn, "worker"):
        facts.store(Tx(conn), p, fact)
    assert (next_comparison(conn, p) or 0) <= 0.5


def agreed(conn: Connection, *, bps: int, fixed: int) -> None:
    with factories.acting(conn, "operator"):
        conn.execute(
            "select set_provider_price('stripe', 'default', 'card', 'usd', %s, %s, 'as in the contract')", [bps, fixed]
        )


DAMAGES: dict[str, tuple[Damage, tuple[int | None, int | None]]] = {
    "missing_at_provider": (lost_by_the_provider, (1_000, 0)),
    "amount_mismatch": (another_amount, (1_000, 900)),
    "currency_mismatch": (another_currency, (1_000, None)),
    "duplicate_charge": (charged_twice, (1_000, 2_000)),
    "money_after_final": (money_on_a_failed_payment, (0, 1_000)),
    "fee_mismatch": (too_dear, (49, 59)),
    "settlement_missing": (unsettled, (1_000, 0)),
    "state_mismatch": (behind, (0, 0)),
    "refund_mismatch": (refunded_elsewhere, (0, 300)),
    "dispute_mismatch": (disputed_elsewhere, (0, 1_000)),
    "clearing_nonzero": (booked_once_too_often, (0, 250)),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_each_damage_is_flagged_with_its_type_and_no_other(conn: Connection, kind: str) -> None:
    damage, (expected, actual) = DAMAGES[kind]
    p = damage(conn)
    assert flagged(conn, p, scale=AT_ONCE) == [kind]
    [row] = opened(conn, p)
    assert (row["expected"], row["actual"], row["payment_id"]) == (expected, actual, p["id"])
    assert (row["delta"], row["status"]) == (None if actual is None else actual - (expected or 0), "open")


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_second_comparison_changes_nothing(conn: Connection, kind: str) -> None:
    p = DAMAGES[kind][0](conn)
    compare(conn, p, scale=AT_ONCE)
    before = opened(conn, p)
    assert compare(conn, p, scale=AT_ONCE) == {"opened": 0, "closed": 0}
    assert opened(conn, p) == before


WAITS = {
    "missing_at_provider", "settlement_missing", "state_mismatch", "refund_mismatch", "dispute_mismatch",
    "clearing_nonzero",
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_may_only_be_late_is_waited_for_and_what_is_wrong_is_not(conn: Connection, kind: str) -> None:
    p = DAMAGES[kind][0](conn)
    assert flagged(conn, p) == ([] if kind in WAITS else [kind])
    if kind in WAITS:
        assert next_comparison(conn, p) > 60


def test_two_payments_of_one_order_are_a_duplicate_of_the_second(conn: Connection) -> None:
    first = met(conn, reference="order-1")
    second = met(conn, reference="order-1", merchant_id=first["merchant_id"])
    other = met(conn, reference="order-2", merchant_id=first["merchant_id"])
    compare(conn, first, second, other)
    [row] = opened(conn, first)
    assert (row["type"], row["payment_id"], row["ref"]) == ("duplicate_charge", second["id"], str(first["id"]))


def test_an_order_paid_again_later_than_ten_minutes_is_no_duplicate(conn: Connection) -> None:
    first = met(conn, reference="order-1")
    second = met(conn, reference="order-1", merchant_id=first["merchant_id"])
    assert "duplicate_charge" not in flagged(conn, second, scale=TEN_MINUTES_ARE_A_MICROSECOND)


def test_a_line_that_was_exchanged_is_no_other_currency(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    books.handle(conn, "credit_merchant", p)
    line(conn, p, "charge", 900, currency="eur", exchanged=True, source_ref=p["latest_charge_ref"])
    assert flagged(conn, p) == []


def test_a_bank_debit_has_its_line_before_it_succeeds(conn: Connection) -> None:
    p = factories.payment(conn, "submitted", method="us_bank_account")
    line(conn, p, "charge", p["amount"])
    assert "state_mismatch" not in flagged(conn, p, scale=AT_ONCE)


@pytest.mark.parametrize(
    "kind, repair",
    [
        ("missing_at_provider", lambda conn, p: line(conn, p, "charge", p["amount"])),
        ("amount_mismatch", lambda conn, p: line(conn, p, "partial_capture_reversal", 100)),
        ("duplicate_charge", lambda conn, p: line(conn, p, "refund", -p["amount"])),
        ("money_after_final", lambda conn, p: line(conn, p, "refund", -p["amount"])),
        ("state_mismatch", lambda conn, p: factories.advance(conn, p, "confirmed")),
        ("refund_mismatch", lambda conn, p: line(conn, p, "refund_failure", 300)),
        ("dispute_mismatch", lambda conn, p: line(conn, p, "dispute_reversal", p["amount"])),
        ("currency_mismatch", lambda conn, p: told_late_that_it_was_exchanged(conn, p)),
        ("fee_mismatch", lambda conn, p: agreed(conn, bps=290, fixed=30)),
        ("fee_mismatch", lambda conn, p: line(conn, p, "fee", 10)),
        (
            "clearing_nonzero",
            lambda conn, p: books.post(
                conn, p["merchant_id"], ("clearing:stripe", "usd", -250), ("losses", "usd", 250), payment_id=p["id"]
            ),
        ),
    ],
)
def test_it_closes_by_itself_when_the_missing_piece_arrives(
    conn: Connection, kind: str, repair: Callable[[Connection, Row], object]
) -> None:
    p = DAMAGES[kind][0](conn)
    assert flagged(conn, p, scale=AT_ONCE) == [kind]
    [found] = opened(conn, p)
    repair(conn, p)
    compare(conn, p)
    row = conn.execute("select * from discrepancies where id = %(id)s", found).fetchone()
    assert row is not None
    assert (row["status"], row["resolution_code"], row["resolved_by"]) == (
        "auto_resolved", "met", "reconciler reconciler-1",
    )  # fmt: skip
