"""Operations, attempts and calls: one intent at a time, a further attempt only with proof, a call opened first."""

from __future__ import annotations

import re
import uuid
from itertools import product
from typing import Any

import psycopg
import pytest

from app.db import QUERIES
from tests import factories
from tests.factories import Connection, Row
from tests.sql.refusal import ACCEPTED, answer

MINE = " where merchant_id = %(merchant_id)s and id = %(id)s"


def refused(conn: Connection, p: Row, kind: str, **columns: Any) -> str | None:
    """The constraint or SQLSTATE that refuses a new operation; None when it is accepted, and undone either way."""
    try:
        with conn.transaction(force_rollback=True):
            factories.operation(conn, p, kind, **columns)
    except psycopg.Error as error:
        return error.diag.constraint_name or error.sqlstate
    return None


@pytest.mark.parametrize(
    "state, first, second",
    [("initiated", "submit", "submit"), *(("authorized", *pair) for pair in product(("capture", "cancel"), repeat=2))],
)
def test_a_payment_has_one_open_lifecycle_operation(conn: Connection, state: str, first: str, second: str) -> None:
    p = factories.payment(conn, state)
    factories.operation(conn, p, first)
    assert refused(conn, p, second) == "operations_one_open_per_payment"


def test_closing_an_orphan_waits_for_nobody(conn: Connection) -> None:
    p = factories.payment(conn, "submitting")
    assert refused(conn, p, "close", target_ref="pi_orphan") is None


def test_another_may_open_when_the_first_is_over(conn: Connection) -> None:
    p = factories.payment(conn, "authorized")
    assert refused(conn, p, "cancel") is None


@pytest.mark.parametrize("kind", ["submit", "close"])
@pytest.mark.parametrize("actor", ["api", "operator"])
def test_only_the_worker_submits_and_closes(conn: Connection, kind: str, actor: str) -> None:
    p = factories.payment(conn, "initiated")
    assert refused(conn, p, kind, actor_type=actor) == "PB002"


def test_an_operation_begins_as_pending(conn: Connection) -> None:
    p = factories.payment(conn, "initiated")
    over = {"status": "succeeded", "outcome": "ok", "finished_at": "now"}
    leased = {"status": "in_flight", "lease_token": uuid.uuid4(), "lease_expires_at": "now"}
    assert [refused(conn, p, "submit", **columns) for columns in (over, leased)] == ["PB004", "PB004"]


@pytest.mark.parametrize(
    "state, kind, woken",
    [("authorized", "capture", 1), ("authorized", "cancel", 1), ("confirmed", "refund", 1), ("initiated", "submit", 0)],
)
def test_what_somebody_asks_for_wakes_its_handler(conn: Connection, state: str, kind: str, woken: int) -> None:
    p = factories.payment(conn, state)
    op = factories.operation(conn, p, kind)
    rows = conn.execute("select topic from events where operation_id = %s", [op["id"]]).fetchall()
    assert rows == [{"topic": "operation.requested"}] * woken


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'cancel'",
        "params = '{}'",
        "params_sha256 = 'x'",
        "payment_id = uuidv7()",
        "id = uuidv7()",
        "created_at = now()",
    ],
)
def test_what_an_operation_intends_never_changes(conn: Connection, change: str) -> None:
    op = factories.operation(conn, factories.payment(conn, "authorized"), "capture")
    assert answer(conn, f"update operations set {change}" + MINE, op) == "PB004"
    assert answer(conn, "delete from postbox.operations" + MINE, op, actor="system") == "PB004"


def test_an_operation_that_is_over_stays_as_it_ended(conn: Connection) -> None:
    p = factories.payment(conn, "submitted")
    op = conn.execute("select * from operations where payment_id = %s", [p["id"]]).fetchone()
    assert op is not None
    assert answer(conn, "update operations set outcome_code = 'other'" + MINE, op) == "PB004"


def test_only_who_holds_the_lease_gives_it_back_and_only_once(conn: Connection) -> None:
    op = factories.operation(conn, factories.payment(conn), "submit")
    mine, other = uuid.uuid4(), uuid.uuid4()
    given = {"merchant_id": op["merchant_id"], "operation_id": op["id"], "step": None, "asks": 0}
    end = {"status": "succeeded", "outcome": "ok", "outcome_code": None, "outcome_message": None}
    lease = {"step": "create", "attempt": 1, "asks": None, "lease_token": mine, "seconds": 30}
    with factories.acting(conn, "worker"):
        conn.execute(QUERIES["operations.lease"], given | lease)
        rows = [
            conn.execute(QUERIES["operations.settle_lease"], given | end | {"lease_token": token}).rowcount
            for token in (other, None, mine, mine)
        ]
    assert rows == [0, 0, 1, 0]


ATTEMPT = (
    "insert into operation_attempts (merchant_id, operation_id, step, n, idempotency_key, proof_call_id)"
    " values (%(merchant_id)s, %(id)s, 'create', %(n)s, %(id)s || ':create:' || %(n)s, %(proof)s)"
)


def test_a_further_attempt_takes_proof_and_the_first_takes_none(conn: Connection) -> None:
    op = factories.operation(conn, factories.payment(conn), "submit")
    proof = factories.finish_call(conn, factories.provider_call(conn, op), "not_executed")["id"]
    without = "operation_attempts_further_attempt_iff_proof"
    assert answer(conn, ATTEMPT, op | {"n": 2, "proof": None}) == without
    assert answer(conn, ATTEMPT, op | {"n": 1, "proof": proof}) == without
    assert (
        answer(conn, ATTEMPT, op | {"n": 2, "proof": uuid.uuid4()})
        == "operation_attempts_merchant_id_proof_call_id_fkey"
    )
    assert answer(conn, ATTEMPT, op | {"n": 1, "proof": None}) == ACCEPTED
    assert answer(conn, ATTEMPT, op | {"n": 2, "proof": proof}) == ACCEPTED


def test_a_key_is_made_of_its_operation_and_no_other(conn: Connection) -> None:
    op = factories.operation(conn, factories.payment(conn), "submit")
    made_up = ATTEMPT.replace("%(id)s || ':create:' || %(n)s", "'made up'")
    assert answer(conn, made_up, op | {"n": 1, "proof": None}) == "operation_attempts_key_is_deterministic"


def test_a_call_is_written_down_before_it_is_sent_and_completed_once(conn: Connection) -> None:
    op = factories.operation(conn, factories.payment(conn), "submit")
    with pytest.raises(psycopg.Error) as late, conn.transaction():
        factories.provider_call(conn, op, finished_at="now", outcome="ok")
    assert late.value.sqlstate == "PB004"
    call = factories.finish_call(conn, factories.provider_call(conn, op))
    with pytest.raises(psycopg.Error) as twice, conn.transaction():
        factories.finish_call(conn, call, "refused")
    assert twice.value.sqlstate == "PB004"


def test_a_call_that_is_completed_stays_in_its_place(conn: Connection) -> None:
    indexed = conn.execute(
        "select distinct a.attname from pg_index i"
        " join pg_depend d on d.objid = i.indexrelid and d.refobjid = i.indrelid"
        " join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid"
        " where i.indrelid = 'provider_calls'::regclass and d.classid = 'pg_class'::regclass"
    ).fetchall()
    completed = QUERIES["operations.complete_call"].partition(" set")[2].partition("where")[0]
    written = set(re.findall(r"(\w+) = ", completed))
    assert "finished_at" in written and "sent_at" in {row["attname"] for row in indexed}
    assert written.isdisjoint(row["attname"] for row in indexed)


@pytest.mark.parametrize(
    "change", ["path = '/'", "request = '{}'", "idempotency_key = 'x'", "attempt = 9", "sent_at = now()"]
)
def test_what_was_sent_never_changes(conn: Connection, change: str) -> None:
    call = factories.provider_call(conn, factories.operation(conn, factories.payment(conn), "submit"))
    assert answer(conn, f"update provider_calls set {change}" + MINE, call) == "PB004"
