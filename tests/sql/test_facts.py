"""The state of a confirmed payment is one function of its facts; every pair it can produce is an edge."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
