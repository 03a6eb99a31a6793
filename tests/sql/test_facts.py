"""The state of a confirmed payment is one function of its facts; every pair it can produce is an edge."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db import Tx
from tests import factories
from tests.factories import Connection
from tests.sql.edges import EDGES

CAPTURED = 1_000
FACTS = {
    "method": ("card", "us_bank_account"),
    "refunded": (0, 400, 1_000, 1_400),
    "disputed": (0, 1, 1_000),
    "lost": (0, 1, 1_000),
    "settled": (False, True),
    "returned": (False, True),
}
CALL = (
    "select state_of_facts(%(method)s, %(captured)s, %(refunded)s, %(disputed)s, %(lost)s,"
    " case when %(settled)s then now() end, %(returned)s) as state"
)
Facts = dict[str, Any]


def plain_state(f: Facts) -> str:
    """The same in plain Python, from the definitions of the states."""
    if f["returned"]:
        return "returned"
    if f["lost"]:
        return "charged_back" if f["method"] == "card" else "returned"
    if f["disputed"]:
        return "disputed"
    if f["refunded"] >= f["captured"]:
        return "refunded"
    return "settled" if f["settled"] else "confirmed"


def state(conn: Connection, f: Facts) -> str:
    row = conn.execute(CALL, f).fetchone()
    assert row is not None
    return str(row["state"])


ALL = [dict(zip(FACTS, values, strict=True)) | {"captured": CAPTURED} for values in product(*FACTS.values())]


def test_the_function_says_of_every_kind_of_facts_what_the_definitions_say(conn: Connection) -> None:
    assert {state(conn, f) == plain_state(f) for f in ALL} == {True}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_and_of_any_facts_at_all(conn: Connection, data: st.DataObject) -> None:
    money = st.integers(0, 2**53 - 1)
    f = {name: data.draw(st.sampled_from(FACTS[name])) for name in ("method", "settled", "returned")}
    f |= {"captured": data.draw(money.filter(bool))} | {n: data.draw(money) for n in ("refunded", "disputed", "lost")}
    assert state(conn, f) == plain_state(f)


def can_become(before: Facts, after: Facts) -> bool:
    """A payment keeps its method, what settled stays settled, and a card has no return."""
    of_card = before["method"] == "card" and (before["returned"] or after["returned"])
    return before["method"] == after["method"] and (after["settled"] or not before["settled"]) and not of_card


def test_every_pair_of_states_it_can_produce_is_an_edge() -> None:
    """From any facts to any others, several at once included."""
    pairs = {
        (plain_state(before), plain_state(after)) for before, after in product(ALL, ALL) if can_become(before, after)
    }
    pairs = {pair for pair in pairs if pair[0] != pair[1]}
    assert len(pairs) > 20
    assert pairs <= set(EDGES)


@pytest.mark.parametrize("way", ["confirmed", "disputed", "refunded", "charged_back"])
def test_a_state_that_the_facts_do_not_say_is_refused(conn: Connection, way: str) -> None:
    p = factories.payment(conn, way)
    wrong = {"confirmed": "refunded", "disputed": "settled", "refunded": "disputed", "charged_back": "confirmed"}[way]
    with pytest.raises(factories.psycopg.Error) as refused, factories.acting(conn, "worker"), conn.transaction():
        factories.update_payment(conn, p, state=wrong)
    assert refused.value.diag.constraint_name == "payments_state_follows_the_facts"


# What becomes of a refund of so much, of a dispute that took so much, and of the charge's own money.
REFUND_WAYS = (("pending",), ("pending", "succeeded"), ("pending", "failed"), ("pending", "succeeded", "failed"))
DISPUTE_WAYS = (("taken",), ("taken", "lost"), ("taken", "won", "back"), ("taken", "lost", "won", "back"))
CHILDREN = st.lists(
    st.tuples(st.just("refund"), st.sampled_from(REFUND_WAYS), st.sampled_from([300, 400, 1_000]))
    | st.tuples(st.just("dispute"), st.sampled_from(DISPUTE_WAYS), st.sampled_from([500, 1_000])),
    min_size=1, max_size=4,
)  # fmt: skip


class Child:
    """One refund or dispute, on the way that was drawn for it."""

    def __init__(self, conn: Connection, p: dict[str, Any], kind: str, way: tuple[str, ...], amount: int) -> None:
        self.conn, self.kind, self.way, self.amount = conn, kind, list(way), amount
        self.state, self.held = "", 0
        make = factories.refund if kind == "refund" else factories.dispute
        self.row = make(conn, p, **({"amount": amount} if kind == "refund" else {}))

    def go(self) -> None:
        """One step, in the database and in plain Python."""
        step = self.way.pop(0)
        if self.kind == "refund":
            self.state, self.row = step, factories.advance_refund(self.conn, self.row, step)
            return
        self.state = step if step in ("won", "lost") else self.state
        self.held = {"taken": self.amount, "back": 0}.get(step, self.held)
        with factories.acting(self.conn, "worker"):
            self.conn.execute(
                "update disputes set state = %s, amount_withdrawn = %s where id = %s",
                [self.state or "open", self.held, self.row["id"]],
            )


def sums(children: list[Child], *, settled: bool) -> Facts:
    refunded = sum(c.amount for c in children if c.kind == "refund" and c.state == "succeeded")
    lost = sum(c.held for c in children if c.state == "lost")
    disputed = sum(c.held for c in children) - lost
    of = {"method": "card", "captured": CAPTURED, "settled": settled, "returned": False}
    return of | {"refunded": refunded, "disputed": disputed, "lost": lost}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=CHILDREN, data=st.data())
def test_children_that_change_in_any_order_and_are_told_again_leave_the_state_of_their_sums(
    conn: Connection, drawn: list[Any], data: st.DataObject
) -> None:
    with conn.transaction(force_rollback=True):
        p = factories.payment(conn, "confirmed", amount=CAPTURED)
        children = [Child(conn, p, *each) for each in drawn]
        steps: list[Child | None] = [child for child in children for _ in child.way]
        settled = False
        # None: the charge's money becomes available
        for step in data.draw(st.permutations([*steps, None])):
            settled = settled or step is None
            if step is not None:
                step.go()
            for _ in range(data.draw(st.integers(1, 2))):
                assert followed(conn, p, settles=step is None) == plain_state(sums(children, settled=settled))


def followed(conn: Connection, p: dict[str, Any], *, settles: bool) -> str:
    """The state of the payment once it follows its children."""
    with factories.acting(conn, "worker"):
        Tx(conn).one("payments.follow_facts", merchant_id=p["merchant_id"], payment_id=p["id"], settles=settles)
    row = conn.execute("select state from payments where id = %(id)s", p).fetchone()
    assert row is not None
    return str(row["state"])


def test_the_children_of_a_payment_add_up_to_its_facts(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed", amount=10_000)
    for n, each in enumerate(
        ("requested", "submitting", "outcome_unknown", "pending", "succeeded", "failed", "canceled")
    ):
        factories.refund(conn, p, each, amount=10**n)
    for n, each in enumerate(("inquiry", "open", "won", "lost", "closed")):
        d = factories.dispute(conn, p, each)
        with factories.acting(conn, "worker"):
            conn.execute("update disputes set amount_withdrawn = %s where id = %s", [10**n, d["id"]])
    row = conn.execute("select * from facts_of_children(%(merchant_id)s, %(id)s)", p).fetchone()
    assert row == {"refund_pending": 1_111, "refunded": 10_000, "disputed": 10_111, "lost": 1_000}
