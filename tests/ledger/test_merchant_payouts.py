"""J9 and J10: a merchant's money is paid out and held back, of what is there and no more, whoever else moves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from app.db import Tx
from app.db.errors import domain_error
from app.errors import BankLineUsed, BooksOutOfBalance, IllegalTransition, NotEnough
from app.services import merchant_payouts as service
from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.database import Clone
from tests.ledger.books import balances, books, credit, drift, post
from tests.sql.race import Meet, race
from tests.sql.refusal import answer

OWED = 1_000
REQUEST = "select * from request_merchant_payout(%s, 'usd', %s, 'weekly')"


def owed(conn: Connection, amount: int = OWED) -> Any:
    """A merchant who has so much available."""
    merchant_id = factories.merchant(conn)["id"]
    post(conn, merchant_id, *credit(merchant_id, amount))
    return merchant_id


def act(conn: Connection, work: Callable[[Tx], Any]) -> Any:
    """As an operator; what the database refuses is raised as the edges raise it."""
    try:
        with factories.acting(conn, "operator"):
            return work(Tx(conn))
    except psycopg.Error as error:
        raise domain_error(error) from None


def request(conn: Connection, merchant_id: Any, amount: int) -> Row:
    return act(conn, lambda tx: service.request(tx, merchant_id, amount=amount, currency="usd", reason="weekly"))


def test_a_payout_leaves_the_merchant_at_once_and_the_banks_line_closes_it(conn: Connection) -> None:
    merchant_id = owed(conn)
    payout = request(conn, merchant_id, 600)
    assert balances(conn, merchant_id) == {("merchant:available", "usd"): -400}
    assert books(conn)["merchant_payouts_in_flight"] == {"usd": -600}
    act(conn, lambda tx: service.paid(tx, payout["id"], bank_account="main", bank_ref="b-1", reason="statement"))
    assert "merchant_payouts_in_flight" not in books(conn)
    assert books(conn)["bank:main"] == {"usd": -600}
    assert drift(conn) == []


@pytest.mark.parametrize("was_paid", [False, True])
def test_a_payout_that_comes_back_is_the_merchants_again(conn: Connection, was_paid: bool) -> None:
    merchant_id = owed(conn)
    before = books(conn)
    payout = request(conn, merchant_id, 600)
    if was_paid:
        act(conn, lambda tx: service.paid(tx, payout["id"], bank_account="main", bank_ref="b-1", reason="statement"))
    act(conn, lambda tx: service.returned(tx, payout["id"], reason="account closed"))
    assert books(conn) == before
    with pytest.raises(IllegalTransition):
        act(conn, lambda tx: service.returned(tx, payout["id"], reason="again"))


def test_no_more_is_paid_out_than_is_available(conn: Connection) -> None:
    merchant_id = owed(conn)
    with pytest.raises(NotEnough):
        request(conn, merchant_id, OWED + 1)
    request(conn, merchant_id, OWED)
    with pytest.raises(NotEnough):
        request(conn, merchant_id, 1)


def test_what_is_pending_or_held_back_is_not_paid_out(conn: Connection) -> None:
    merchant_id = owed(conn)
    post(conn, merchant_id, ("clearing:stripe", "usd", 500), ("merchant:pending", "usd", -500))
    act(conn, lambda tx: service.hold(tx, merchant_id, amount=300, currency="usd", reason="risk"))
    with pytest.raises(NotEnough):
        request(conn, merchant_id, OWED - 299)
    assert balances(conn, merchant_id)[("merchant:reserve", "usd")] == -300
    with pytest.raises(NotEnough):
        act(conn, lambda tx: service.release(tx, merchant_id, amount=301, currency="usd", reason="risk is over"))
    act(conn, lambda tx: service.release(tx, merchant_id, amount=300, currency="usd", reason="risk is over"))
    request(conn, merchant_id, OWED)
    assert drift(conn) == []


def test_a_line_of_the_bank_pays_one_payout(conn: Connection) -> None:
    merchant_id = owed(conn)
    first, second = (request(conn, merchant_id, 100) for _ in range(2))
    line = {"bank_account": "main", "bank_ref": "b-1", "reason": "statement"}
    act(conn, lambda tx: service.paid(tx, first["id"], **line))
    with pytest.raises(BankLineUsed):
        act(conn, lambda tx: service.paid(tx, second["id"], **line))


def test_nothing_is_paid_out_of_books_that_are_out_of_balance(conn: Connection) -> None:
    merchant_id, other = owed(conn), owed(conn)
    conn.execute("alter table discrepancies disable trigger user")
    conn.execute(
        "insert into discrepancies (merchant_id, type, severity, subject, evidence_at, sla_due_at, detected_by)"
        " values (%s, 'ledger_imbalance', 'critical', 'ledger_account/x', now(), now(), 'daily')",
        [merchant_id],
    )
    with pytest.raises(BooksOutOfBalance):
        request(conn, merchant_id, 1)
    request(conn, other, 1)


@pytest.mark.parametrize("actor", ["worker", "api", "reconciler"])
def test_only_an_operator_pays_out(conn: Connection, actor: str) -> None:
    assert answer(conn, REQUEST, [owed(conn), 1], actor=actor) == "42501"


def test_who_and_why_is_kept(conn: Connection) -> None:
    merchant_id = owed(conn)
    request(conn, merchant_id, 600)
    rows = conn.execute(
        "select action, actor_id, reason from audit_log where merchant_id = %s and reason is not null order by id",
        [merchant_id],
    ).fetchall()
    assert [tuple(row.values()) for row in rows] == [
        ("merchant_payout.requested", "operator-1", "weekly"), ("ledger.posted", "operator-1", "weekly"),
    ]  # fmt: skip
    silent = "select request_merchant_payout(%s, 'usd', 1, ' ')"
    assert answer(conn, silent, [merchant_id], actor="operator") == "PB002"


@pytest.fixture
def admin(database: Clone) -> Connection:
    return database.connect(admin=True)


def test_r10_of_two_payouts_at_once_one_finds_nothing_left(database: Clone, admin: Connection) -> None:
    merchant_id = owed(admin)

    def story(conn: Connection, meet: Meet) -> str:
        meet()
        conn.execute(REQUEST, [merchant_id, 700])
        return "paid out"

    assert sorted(race(database, story, actor="operator")) == ["ledger_balances_spend_what_is_there", "paid out"]
    assert balances(admin, merchant_id) == {("merchant:available", "usd"): -300}


@pytest.mark.parametrize("refund_first", [False, True])
def test_r10_a_payout_never_spends_what_a_refund_took_before(
    database: Clone, admin: Connection, refund_first: bool
) -> None:
    """A refund is a fact and may leave the merchant owing us; a payout that comes after it may not."""
    merchant_id = owed(admin)

    def refund(conn: Connection, meet: Meet) -> str:
        if not refund_first:
            meet()
        factories.act(conn, "worker")
        post(conn, merchant_id, *credit(merchant_id, -700))
        if refund_first:
            meet()
        return "refunded"

    def payout(conn: Connection, meet: Meet) -> str:
        if refund_first:
            meet()
        conn.execute(REQUEST, [merchant_id, 700])
        if not refund_first:
            meet()
        return "paid out"

    paid = "ledger_balances_spend_what_is_there" if refund_first else "paid out"
    assert race(database, refund, payout, actor="operator") == ["refunded", paid]
    left = -300 if refund_first else 400
    assert balances(admin, merchant_id) == {("merchant:available", "usd"): left}
    assert drift(admin) == []


def test_holding_and_releasing_at_once_never_deadlocks(database: Clone, admin: Connection) -> None:
    merchant_id = owed(admin)
    act(admin, lambda tx: service.hold(tx, merchant_id, amount=500, currency="usd", reason="risk"))

    def move(kind: str) -> Callable[[Connection, Meet], None]:
        def story(conn: Connection, meet: Meet) -> None:
            meet()
            conn.execute("select move_reserve(%s, %s, 'usd', 200, 'risk')", [merchant_id, kind])

        return story

    assert race(database, move("reserve_held"), move("reserve_released"), actor="operator") == [None, None]
    assert balances(admin, merchant_id)[("merchant:reserve", "usd")] == -500


def owing(conn: Connection, amount: int) -> Any:
    """A merchant whose refunds took more than there was."""
    merchant_id = owed(conn, 10)
    post(conn, merchant_id, *credit(merchant_id, -10 - amount))
    return merchant_id


WRITE_OFF = "select write_off_debt(%s, 'usd', %s, 'closed its shop')"


def test_a_debt_is_written_off_by_two_once_and_never_beyond_it(conn: Connection) -> None:
    merchant_id = owing(conn, 700)
    beyond, part = ({"currency": "usd", "amount": amount} for amount in (701, 400))
    assert answer(conn, WRITE_OFF, [merchant_id, 400], actor="operator") == "PB005"
    for agreed in (beyond, part):
        factories.agreed(conn, "write_off", merchant_id, agreed)
    refused = answer(conn, WRITE_OFF, [merchant_id, 701], actor="operator")
    assert refused == "ledger_balances_are_not_written_off_beyond_the_debt"
    act(conn, lambda tx: service.write_off_debt(tx, merchant_id, amount=400, currency="USD", reason="closed its shop"))
    assert balances(conn, merchant_id) == {("merchant:available", "usd"): 300}
    assert books(conn)["losses"] == {"usd": 400}
    assert answer(conn, WRITE_OFF, [merchant_id, 400], actor="operator") == "PB005", "the proposal is used up"
    assert drift(conn) == []
