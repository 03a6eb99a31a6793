"""Every pair of states, by every way to write, under every role and actor: accepted exactly where the tables say."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.factories import Connection, Row
from tests.sql import matrix
from tests.sql.edges import ACCEPTED, ACTORS, DENIED, EDGES, INSERTS, ROLE_ACTORS, STATES, verdict
from tests.sql.matrix import MODES, Attempt, attempt_all, evidence_due, rows_in_all

# Every state, and those that may also come after settlement or before confirmation.
STARTS: dict[str, tuple[str, dict[str, Any]]] = {state: (state, {}) for state in STATES} | {
    "disputed after settlement": ("disputed", {"settled": True}),
    "refunded after settlement": ("refunded", {"settled": True}),
    "charged back after settlement": ("charged_back", {"settled": True}),
    "returned after settlement": ("returned", {"settled": True}),
    "returned before confirmation": ("returned", {"confirmed": False}),
}

WRITES = {
    "update": matrix.update, "update from": matrix.update_from, "merge": matrix.merge, "on conflict": matrix.upsert,
}  # fmt: skip


def start(conn: Connection, name: str) -> Row:
    state, how = STARTS[name]
    p = factories.payment(conn, state, **how)
    if state in ("failed", "canceled"):
        factories.agree_to_adopt(conn, p)
    return p


def columns_to(p: Row, state: str) -> Row:
    """The state and, where it changes, the facts that come with it."""
    return {"state": state} | (factories.facts_of(p, state) if state != p["state"] else {})


def test_the_table_holds_exactly_the_54_edges(conn: Connection) -> None:
    rows = conn.execute("select from_state, to_state, event, class, actors from payment_transitions").fetchall()
    found = {(r["from_state"], r["to_state"]): (r["event"], r["class"], tuple(r["actors"])) for r in rows}
    assert found == EDGES
    assert len(EDGES) == 54


def test_the_states_are_these_14(conn: Connection) -> None:
    assert {r["state"] for r in conn.execute("select state from payment_states")} == set(STATES)


def test_roles_may_set_exactly_these_actor_types(conn: Connection) -> None:
    found: dict[str, set[str]] = {role: set() for role in ROLE_ACTORS}
    for row in conn.execute("select role, actor_type from role_actors"):
        found[row["role"]].add(row["actor_type"])
    assert found == {role: set(actors) for role, actors in ROLE_ACTORS.items()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", WRITES)
@pytest.mark.parametrize("name", STARTS)
def test_a_step_is_accepted_exactly_where_the_tables_say(conn: Connection, name: str, way: str, mode: str) -> None:
    """And leaves one audit entry and its events under one xid; what is refused or undone leaves nothing."""
    p = start(conn, name)
    columns = {to: columns_to(p, to) for to in STATES}
    before, subscribed = rows_in_all(conn), matrix.subscriptions(conn)
    attempts = attempt_all(conn, p, {to: WRITES[way](p, columns[to]) for to in STATES}, mode=mode)
    assert len(attempts) == len(ROLE_ACTORS) * len(ACTORS) * len(STATES)
    assert any(a.result == ACCEPTED for a in attempts), "a payment may at least be observed"
    for a in attempts:
        expected = expected_of(p, a, columns[a.statement], way)
        assert a.result == expected, a
        assert expected != ACCEPTED or a.evidence == evidence_due(p, a, [a.statement], mode, subscribed), a
    assert rows_in_all(conn) == before


def expected_of(p: Row, a: Attempt, columns: dict[str, Any], way: str) -> str:
    settled = p["settled_at"] is not None
    captures = columns.get("amount_captured", p["amount_captured"]) != p["amount_captured"]
    judged = verdict(a.role, a.actor, p["state"], a.statement, frozenset(columns), settled=settled, captures=captures)
    if way != "on conflict" or judged == DENIED:
        return judged
    # the INSERT half is judged first: it takes the right to insert and the actor api
    if a.role not in INSERTS:
        return DENIED
    return judged if a.actor == "api" else "PB002"


@pytest.mark.parametrize("name", STARTS)
def test_a_step_without_its_facts_is_refused_no_later(conn: Connection, name: str) -> None:
    """Only `state` is set, which every role but compliance may: the trigger or a CHECK misses the facts."""
    p = start(conn, name)
    attempts = attempt_all(conn, p, {to: matrix.update(p, {"state": to}) for to in STATES})
    wrong = [a for a in attempts if not is_refused_or_incomplete(a, p["state"])]
    assert wrong == []


def is_refused_or_incomplete(a: Attempt, state: str) -> bool:
    expected = verdict(a.role, a.actor, state, a.statement, frozenset({"state"}))
    # two people agreed to an amount, and none is here
    missing = "PB005" if EDGES.get((state, a.statement), ("",))[0] == "payment.adopted" else "23514"
    return a.result == expected or (expected == ACCEPTED and a.result == missing)


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("role", ROLE_ACTORS)
def test_copy_creates_payments_for_nobody(conn: Connection, role: str, actor: str) -> None:
    """The one role that may insert them is bound by row level security, and PostgreSQL refuses it to COPY."""
    merchant_id = factories.merchant(conn)["id"]
    # the owner is let in and plays neither the api nor anybody else who may begin a payment
    refused = {"postbox_api": "0A000", "postbox_owner": "PB002"}.get(role, DENIED)
    for state in STATES:
        expected = "PB001" if actor in ROLE_ACTORS[role] and refused == "PB002" and state != "initiated" else refused
        assert copy_in(conn, role, actor, merchant_id, state) == expected, state


def test_copy_is_judged_as_an_insert_is(conn: Connection) -> None:
    """Were the owner allowed to act as the api, the same line would begin a payment, and in no other state."""
    merchant_id = factories.merchant(conn)["id"]
    conn.execute("insert into role_actors values ('postbox_owner', 'api')")
    accepted = [state for state in STATES if copy_in(conn, "postbox_owner", "api", merchant_id, state) == ACCEPTED]
    assert accepted == ["initiated"]


def copy_in(conn: Connection, role: str, actor: str, merchant_id: Any, state: str) -> str | None:
    names = "merchant_id, state, amount, currency, provider, provider_account, method, method_token"
    line = f"{merchant_id}\t{state}\t1000\tusd\tstripe\tdefault\tcard\tpm_card_visa\n"
    try:
        with factories.acting(conn, actor, role=role, merchant_id=str(merchant_id)), conn.cursor() as cursor:
            with cursor.copy(f"copy postbox.payments ({names}) from stdin") as copy:
                copy.write(line)
            return ACCEPTED
    except factories.psycopg.Error as error:
        return error.sqlstate
