"""Refunds and disputes: every pair of their states, who may move them, what never changes, what each step leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import factories
from tests.factories import Connection, Row
from tests.sql.edges import DISPUTE_EDGES, DISPUTE_STATES, REFUND_EDGES, REFUND_STATES
from tests.sql.refusal import ACCEPTED, answer

EDGES = {"refunds": REFUND_EDGES, "disputes": DISPUTE_EDGES}
STARTS = [("refunds", state) for state in REFUND_STATES] + [("disputes", state) for state in DISPUTE_STATES]
PAIRS = [
    (table, state, to) for table, state in STARTS
    for to in (REFUND_STATES if table == "refunds" else DISPUTE_STATES) if to != state
]  # fmt: skip
MINE = " where merchant_id = %(merchant_id)s and id = %(id)s"


def child(conn: Connection, table: str, state: str) -> Row:
    make = factories.refund if table == "refunds" else factories.dispute
    return make(conn, factories.payment(conn, "confirmed"), state)


def facts(table: str, r: Row, to: str) -> str:
    """The facts that the step to this state needs, as SET."""
    if table == "refunds" and to in ("pending", "succeeded", "canceled") and r["provider_ref"] is None:
        return ", provider_ref = 're_new'"
    return ", failure_reason = 'unknown'" if table == "refunds" and to == "failed" else ""


@pytest.mark.parametrize("table", EDGES)
def test_the_tables_hold_exactly_these_edges(conn: Connection, table: str) -> None:
    rows = conn.execute(f"select from_state, to_state, event from {table.removesuffix('s')}_transitions")
    assert {(r["from_state"], r["to_state"]): r["event"] for r in rows} == EDGES[table]


@pytest.mark.parametrize("table, state, to", PAIRS)
def test_a_step_is_accepted_exactly_where_the_table_says(conn: Connection, table: str, state: str, to: str) -> None:
    r = child(conn, table, state)
    for actor in ("worker", "webhook", "reconciler"):
        result = answer(conn, f"update {table} set state = '{to}'{facts(table, r, to)}" + MINE, r, actor=actor)
        assert result == (ACCEPTED if (state, to) in EDGES[table] else "PB001"), actor


@pytest.mark.parametrize("table, edge", [(table, edge) for table in EDGES for edge in EDGES[table]])
def test_a_step_leaves_one_audit_entry_and_its_event(conn: Connection, table: str, edge: tuple[str, str]) -> None:
    r = child(conn, table, edge[0])
    entity = table.removesuffix("s")
    with factories.acting(conn, "webhook"):
        conn.execute(f"update {table} set state = '{edge[1]}'{facts(table, r, edge[1])}" + MINE, r)
    last = conn.execute("select * from audit_log where entity_id = %(id)s::text order by id desc limit 1", r).fetchone()
    assert (last["action"], last["entity_type"], last["actor_type"]) == (f"{entity}.{edge[1]}", entity, "webhook")
    assert json.loads(last["body"])["after"]["version"] == r["version"] + 1
    event = conn.execute(f"select * from events where {entity}_id = %(id)s order by id desc limit 1", r).fetchone()
    assert (event["topic"], event["payment_id"]) == (EDGES[table][edge], r["payment_id"])
    assert (event["payload"]["previous_state"], event["payload"]["state"]) == edge


@pytest.mark.parametrize("table", EDGES)
@pytest.mark.parametrize("actor", ["operator", "system"])
def test_nobody_but_an_observer_moves_one(conn: Connection, table: str, actor: str) -> None:
    r = child(conn, table, "pending" if table == "refunds" else "open")
    to = "succeeded" if table == "refunds" else "won"
    assert answer(conn, f"update {table} set state = '{to}'" + MINE, r, actor=actor) in ("PB002", "42501")


@pytest.mark.parametrize("table", EDGES)
def test_one_is_never_deleted(conn: Connection, table: str) -> None:
    r = child(conn, table, "pending" if table == "refunds" else "open")
    assert answer(conn, f"delete from {table}" + MINE, r, actor="system") == "PB004"
    assert answer(conn, f"truncate {table} cascade", r, actor="system") == "PB004"


FIXED = {
    "refunds": {"amount": "amount + 1", "origin": "'api'", "reason": "'other'", "provider_ref": "'re_other'",
                "created_at": "now()", "currency": "'eur'", "operation_id": "gen_random_uuid()"},
    "disputes": {"provider_ref": "'du_other'", "disputed_at": "'yesterday'", "created_at": "'yesterday'",
                 "currency": "'eur'"},
}  # fmt: skip


@pytest.mark.parametrize("table, column", [(table, column) for table in FIXED for column in FIXED[table]])
def test_what_one_is_never_changes(conn: Connection, table: str, column: str) -> None:
    r = child(conn, table, "pending" if table == "refunds" else "open")
    conn.execute(f"grant update on {table} to postbox_worker")
    assert answer(conn, f"update {table} set {column} = {FIXED[table][column]}" + MINE, r) == "PB004"


@pytest.mark.parametrize("given", [{"currency": "eur"}, {"provider": "ach"}, {"provider_account": "another"}])
@pytest.mark.parametrize("make", [factories.refund, factories.dispute])
def test_one_is_of_its_payments_currency_and_account(conn: Connection, make: Any, given: dict[str, str]) -> None:
    p = factories.payment(conn, "confirmed")
    with pytest.raises(factories.psycopg.Error) as refused, conn.transaction():
        make(conn, p, **given)
    assert refused.value.sqlstate == "PB004"


def test_a_refund_made_at_the_provider_is_told_by_an_observer_only(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    row = (
        "insert into refunds (merchant_id, payment_id, currency, amount, origin, provider, provider_account)"
        " values (%(merchant_id)s, %(id)s, 'usd', 1, 'provider', 'stripe', 'default')"
    )
    assert answer(conn, row, p, actor="worker") == ACCEPTED
    assert answer(conn, row, p, actor="api", merchant_id=p["merchant_id"]) == "PB002"
    # and what was asked of us comes with the operation that carries it out
    assert answer(conn, row.replace("'provider', 's", "'api', 's"), p, actor="api", merchant_id=p["merchant_id"]) == (
        "refunds_operation_iff_asked_of_us"
    )


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_neither_begins_in_the_middle_of_its_life(conn: Connection, state: str) -> None:
    p = factories.payment(conn, "confirmed")
    conn.execute("grant insert on refunds to postbox_worker")
    into = (
        "insert into refunds (merchant_id, payment_id, currency, amount, origin, provider, provider_account, state)"
        f" values (%(merchant_id)s, %(id)s, 'usd', 1, 'provider', 'stripe', 'default', '{state}')"
    )
    assert answer(conn, into, p) == "PB001"
    with pytest.raises(factories.psycopg.Error, match="begins as inquiry or open"), conn.transaction():
        factories.dispute(conn, p, amount_withdrawn=1)


# -- money lines ------------------------------------------------------------------------------------------------


def line(conn: Connection, p: Row, gross: int, **columns: Any) -> None:
    with factories.acting(conn, "worker"):
        factories._insert(conn, "provider_transactions", {
            "merchant_id": p["merchant_id"], "payment_id": p["id"], "provider": "stripe", "account": "default",
            "ref": f"txn_{gross}_{columns}"[:60], "kind": "x", "currency": p["currency"], "gross": gross, "fee": 0,
            "net": gross, "status": "pending", "available_on": "now", "created_at_provider": "now",
        } | columns)  # fmt: skip


def topics(conn: Connection, p: Row, prefix: str) -> list[str]:
    rows = conn.execute("select topic from events where payment_id = %s and topic like %s", [p["id"], f"{prefix}.%"])
    return [row["topic"] for row in rows]


def test_a_dispute_tells_what_each_of_its_lines_moved_and_a_refund_that_it_was_booked(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    d, r = factories.dispute(conn, p), factories.refund(conn, p, "pending")
    line(conn, p, -1_000, dispute_id=d["id"])
    line(conn, p, 1_000, dispute_id=d["id"])
    line(conn, p, -400, refund_id=r["id"])
    line(conn, p, 400, refund_id=r["id"])
    assert topics(conn, p, "dispute") == ["dispute.opened", "dispute.funds_withdrawn", "dispute.funds_reinstated"]
    assert topics(conn, p, "refund") == ["refund.requested", "refund.pending", "refund.booked"]


def test_a_line_that_finds_its_dispute_later_tells_then(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    d = factories.dispute(conn, p)
    line(conn, p, -1_000)
    assert "dispute.funds_withdrawn" not in topics(conn, p, "dispute")
    with factories.acting(conn, "worker"):
        for _ in range(2):
            conn.execute("update provider_transactions set dispute_id = %(id)s where payment_id = %(payment_id)s", d)
    assert topics(conn, p, "dispute") == ["dispute.opened", "dispute.funds_withdrawn"]


def test_a_line_is_about_a_refund_or_a_dispute_and_then_of_a_payment(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    d, r = factories.dispute(conn, p), factories.refund(conn, p, "pending")
    for columns, sentence in (
        ({"refund_id": r["id"], "dispute_id": d["id"]}, "provider_transactions_is_about_one_thing"),
        ({"refund_id": r["id"], "payment_id": None}, "provider_transactions_of_a_refund_or_dispute_has_a_payment"),
    ):
        with pytest.raises(factories.psycopg.Error) as refused, conn.transaction():
            line(conn, p, -1, **columns)
        assert refused.value.diag.constraint_name == sentence


# -- what a request reserves ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pending, refused", [(1_000, False), (1_001, True), (300, True)], ids=["what is left", "more", "less than before"]
)
def test_a_request_reserves_no_more_than_is_left_and_takes_nothing_back(
    conn: Connection, pending: int, refused: bool
) -> None:
    p = factories.payment(conn, "confirmed", amount=1_000)
    with factories.acting(conn, "worker"):
        factories.update_payment(conn, p, amount_refund_pending=400)
    statement = f"update payments set amount_refund_pending = {pending}" + MINE
    given = answer(conn, statement, p, actor="api", merchant_id=p["merchant_id"])
    assert given == ("payments_refund_requests_fit" if refused else ACCEPTED)
    assert answer(conn, statement, p, actor="worker") == ACCEPTED, "what the provider did is true either way"
