"""Rows of two merchants in every table, and one of them looks, writes and points: there is nobody but themselves."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from app.config import PLATFORM_MERCHANT_ID
from app.db.queries import QUERIES
from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.database import Clone
from tests.sql.refusal import ACCEPTED, answer
from tests.sql.test_tenancy import key_of, tables


@dataclass(frozen=True)
class Two:
    """Merchant a, who looks, and b, who has rows in every table the API may read."""

    a: uuid.UUID
    b: uuid.UUID
    payment: Row
    operation: Row


@pytest.fixture
def two(conn: Connection) -> Two:
    a, b = factories.merchant(conn)["id"], factories.merchant(conn)["id"]
    key = factories.api_key(conn, b)
    conn.execute("insert into api_key_uses values (%s, %s, now(), '203.0.113.7')", [b, key.id])
    factories.payment(conn, "authorized", merchant_id=a)
    p = factories.payment(conn, "authorized", merchant_id=b)
    factories.refund(conn, p)
    factories.dispute(conn, p)
    op = factories.operation(conn, p, "capture")
    call = factories.provider_call(conn, op)
    factories.finish_call(conn, call)
    with factories.acting(conn, "operator"):
        conn.execute("insert into provider_accounts (merchant_id, provider, account) values (%s, 'stripe', 'bs')", [b])
    with factories.acting(conn, "api", merchant_id=str(b)):
        conn.execute(
            "insert into webhook_rejections (merchant_id, provider, account, second, reason)"
            " values (%s, 'stripe', 'bs', date_trunc('second', now()), 'bad')",
            [b],
        )
        conn.execute(QUERIES["idempotency_keys.claim"], {"merchant_id": b, "key": "k", "fingerprint": b"0" * 32})
    factories.webhook(conn, merchant_id=b, account="bs")
    conn.execute(
        "insert into access_log values (%s, default, default, 'ann', 'x', null, null, 'r', null, 'ok', 1)", [b]
    )
    return Two(a, b, p, op)


def looks(conn: Connection, merchant_id: object, table: str) -> set[object]:
    """The merchants whose rows postbox_api sees in `table`; the grant is given where there is none."""
    conn.execute(sql.SQL("grant all on {} to postbox_api").format(sql.Identifier("postbox", table)))
    with conn.transaction(force_rollback=True):
        factories.act(conn, "api", merchant_id=str(merchant_id or ""))
        statement = sql.SQL("select distinct {} as m from {}").format(
            sql.Identifier(key_of(table)), sql.Identifier(table)
        )
        return {row["m"] for row in conn.execute(statement)}


def test_in_every_table_a_merchant_sees_its_own_rows_and_nobodys_else(conn: Connection, two: Two) -> None:
    """Even with every privilege there is: the wall stands behind the grants."""
    empty = []
    for table in tables(conn):
        row = conn.execute(
            sql.SQL("select from {} where {} = %s limit 1").format(
                sql.Identifier(table), sql.Identifier(key_of(table))
            ),
            [two.b],
        ).fetchone()
        empty += [] if row is not None else [table]
        assert looks(conn, two.b, table) == (set() if row is None else {two.b}), table
        assert looks(conn, two.a, table) <= {two.a}, table
    made_by_workers = {
        "awaited_webhooks", "circuits", "delivery_failures", "discrepancies", "operation_attempts", "payouts",
        "provider_transactions", "reconciliation_runs",
    }  # fmt: skip
    made_by_the_gateway_or_people = {"rate_limits", "proposals", "merchant_payouts"}
    assert {name for name in empty if not name.startswith("ledger_")} == made_by_workers | made_by_the_gateway_or_people


def test_with_no_merchant_set_there_is_nothing_at_all(conn: Connection, two: Two) -> None:
    for table in tables(conn):
        assert looks(conn, None, table) == set(), table


def test_a_session_that_never_set_a_merchant_and_one_that_forgot_it_are_nobody(database: Clone) -> None:
    factories.payment(database.connect(admin=True))
    conn = database.connect()
    conn.execute("set role postbox_api")
    asked = "select (select count(*) from payments) as n, current_setting('postbox.merchant_id', true) as m"
    assert conn.execute(asked).fetchone() == {"n": 0, "m": None}
    with conn.transaction():
        conn.execute("select set_config('postbox.merchant_id', %s, true)", [PLATFORM_MERCHANT_ID])
    assert conn.execute(asked).fetchone() == {"n": 0, "m": ""}


def test_in_no_table_a_merchant_changes_or_deletes_anothers_rows(conn: Connection, two: Two) -> None:
    """With triggers out of the way and every privilege given: no row is found to change."""
    for table in tables(conn):
        name, key = sql.Identifier("postbox", table), sql.Identifier(key_of(table))
        conn.execute(sql.SQL("grant all on {} to postbox_api").format(name))
        for statement in (
            sql.SQL("update {} set {} = {} where {} = %s").format(name, key, key, key),
            sql.SQL("delete from {} where {} = %s").format(name, key),
        ):
            with conn.transaction(force_rollback=True):
                conn.execute(sql.SQL("alter table {} disable trigger user").format(name))
                factories.act(conn, "api", merchant_id=str(two.a))
                assert conn.execute(statement, [two.b]).rowcount == 0, table


def test_in_no_table_a_merchant_writes_a_row_as_another(conn: Connection, two: Two) -> None:
    """b's own rows, written once more by a: refused by the policy before a key or a constraint can tell anything."""
    for table in tables(conn):
        name, key = sql.Identifier("postbox", table), sql.Identifier(key_of(table))
        with conn.transaction(force_rollback=True):
            conn.execute(sql.SQL("grant all on {} to postbox_api").format(name))
            conn.execute(sql.SQL("alter table {} disable trigger user").format(name))
            forged = conn.execute(
                sql.SQL("select to_jsonb(t) as row from {} t where {} = %s limit 1").format(name, key), [two.b]
            ).fetchone()
            row = (forged or {"row": {}})["row"] | {key_of(table): str(two.b)}
            statement = sql.SQL("insert into {n} ({c}) select {c} from jsonb_populate_record(null::{n}, %s)").format(
                n=name, c=given_columns(conn, table)
            )
            assert written_by(conn, two.a, statement, row) == "42501", table


def given_columns(conn: Connection, table: str) -> sql.Composed:
    """The columns of a table that an INSERT may name: not those that are generated."""
    rows = conn.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
        " and attgenerated = ''",
        [table],
    )
    return sql.SQL(", ").join(sql.Identifier(row["attname"]) for row in rows)


def written_by(conn: Connection, merchant_id: object, statement: sql.Composed, row: dict[str, Any]) -> str:
    try:
        with conn.transaction(force_rollback=True):
            factories.act(conn, "api", merchant_id=str(merchant_id))
            conn.execute(statement, [Jsonb(row)])
    except psycopg.Error as error:
        return error.sqlstate or ""
    return ACCEPTED


def test_a_row_is_not_handed_to_another_merchant(conn: Connection, two: Two) -> None:
    conn.execute("grant update on webhook_rejections to postbox_api")
    given = answer(
        conn, "update postbox.webhook_rejections set merchant_id = %s", [two.a], actor="api", merchant_id=two.b
    )
    assert given == "42501"


def test_an_upsert_that_names_another_merchants_row_tells_nothing(conn: Connection, two: Two) -> None:
    claim = "insert into postbox.idempotency_keys (merchant_id, key, fingerprint) values (%s, %s, sha256('x'))"
    taken, free = (
        answer(conn, f"{claim} on conflict do nothing", [two.b, key], actor="api", merchant_id=two.a)
        for key in ("k", "free")
    )
    assert taken == free == "42501"


def test_an_operation_cannot_point_at_another_merchants_payment(conn: Connection, two: Two) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        factories.operation(conn, two.payment | {"merchant_id": two.a}, "capture", params={"x": 1})


def test_the_worker_and_the_operator_act_for_everybody(conn: Connection, two: Two) -> None:
    for actor in ("worker", "operator"):
        with factories.acting(conn, actor):
            seen = conn.execute("select distinct merchant_id as m from payments").fetchall()
        assert {two.a, two.b} <= {row["m"] for row in seen}
