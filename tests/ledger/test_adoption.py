"""What happened to a payment while it was over is booked when it is adopted: J1 and then J3 to J7, in any order."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from app.db import Tx
from app.services import adoption, ledger
from tests import factories
from tests.factories import Connection, Row
from tests.ledger.books import balances, books, drift, fact, handle, handle_children, handle_facts
from tests.reconciliation.comparing import flagged


def over(conn: Connection, *, state: str = "failed") -> Row:
    """A payment that is over, and has a charge at the provider all the same."""
    p = factories.payment(conn, state)
    fact(conn, p, fee=0)
    return p


def refunded(conn: Connection, p: Row, amount: int) -> None:
    r = factories.refund(conn, p, "succeeded", amount=amount)
    fact(conn, p, kind="refund", gross=-amount, fee=0, refund_id=r["id"])


def disputed(conn: Connection, p: Row, amount: int, state: str = "open") -> None:
    d = factories.dispute(conn, p, amount=amount)
    with factories.acting(conn, "webhook"):
        factories._update(conn, "disputes", d, {"amount_withdrawn": amount, "state": state})
    fact(conn, p, kind="dispute", gross=-amount, fee=0, dispute_id=d["id"])


def adopt(conn: Connection, p: Row) -> Row:
    """By two operators, after everything the children told was handled and posted nothing."""
    with factories.acting(conn, "worker"):
        Tx(conn).one("payments.follow_facts", merchant_id=p["merchant_id"], payment_id=p["id"], settles=False)
    handle_children(conn, p)
    handle_facts(conn)
    assert not {"merchant:pending", "refunds_in_flight"} & set(books(conn, payment_id=p["id"]))
    factories.agree_to_adopt(conn, p)
    with factories.acting(conn, "operator"):
        return adoption.adopt(Tx(conn), p["id"], amount=p["amount"])


def post_children(conn: Connection, p: Row) -> None:
    with factories.acting(conn, "worker", actor_id="post_children"):
        ledger.post_children(Tx(conn), p["merchant_id"], p["id"])
        ledger.close(Tx(conn))


# what happened while it was over -> the state it is adopted to, and what its merchant then has of 1,000
LIVES: dict[str, tuple[Any, str, int]] = {
    "nothing": (lambda conn, p: None, "confirmed", 1_000),
    "refunded in part": (lambda conn, p: refunded(conn, p, 400), "confirmed", 600),
    "refunded": (lambda conn, p: refunded(conn, p, 1_000), "refunded", 0),
    "disputed": (lambda conn, p: disputed(conn, p, 1_000), "disputed", 0),
    "lost": (lambda conn, p: disputed(conn, p, 1_000, "lost"), "charged_back", 0),
    "refunded in part, disputed for the rest": (
        lambda conn, p: (refunded(conn, p, 400), disputed(conn, p, 600)), "disputed", 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("order", list(permutations(["credit_merchant", "post_children"])), ids="-".join)
def test_an_adopted_payment_is_in_the_state_of_its_facts_and_booked_whole(
    conn: Connection, life: str, order: tuple[str, ...]
) -> None:
    happened, state, owed = LIVES[life]
    p = over(conn)
    happened(conn, p)
    assert adopt(conn, p)["state"] == state
    for _ in range(2):
        for handler in order:
            post_children(conn, p) if handler == "post_children" else handle(conn, handler, p)
    assert -balances(conn, p["merchant_id"]).get(("merchant:pending", "usd"), 0) == owed
    held = books(conn, payment_id=p["id"])
    assert "clearing:stripe" not in held and "refunds_in_flight" not in held
    assert drift(conn) == []
    assert flagged(conn, p) == []


def test_adopting_wakes_the_journals_of_its_children(conn: Connection) -> None:
    p = factories.advance(conn, over(conn, state="canceled"), "confirmed")
    wakes = conn.execute(
        "select d.topic from deliveries d where d.payment_id = %s and d.handler = 'post_children'", [p["id"]]
    ).fetchall()
    assert wakes == [{"topic": "payment.adopted"}]


def test_each_step_of_an_adoption_names_who_took_it(conn: Connection) -> None:
    p = over(conn)
    refunded(conn, p, 1_000)
    adopt(conn, p)
    rows = conn.execute(
        "select action, actor_type, actor_id, on_behalf_of from audit_log where payment_id = %s"
        " and entity_type = 'payment' order by payment_version desc limit 2",
        [p["id"]],
    ).fetchall()
    assert [tuple(row.values()) for row in reversed(rows)] == [
        ("payment.confirmed", "operator", "operator-1", None),
        ("payment.refunded", "reconciler", "operator-1", "operator-1"),
    ]
