"""What each role may do at all: the database's public API, and the ways around it that must stay shut."""

from __future__ import annotations

import re

import psycopg
import pytest
from psycopg import sql

from tests import factories
from tests.factories import Connection
from tests.fixtures.cluster import LOGIN
from tests.fixtures.database import Clone
from tests.sql.refusal import ACCEPTED, answer

RUNTIME = ("postbox_api", "postbox_worker", "postbox_operator", "postbox_compliance")
APPEND_ONLY = ("audit_log", "events", "webhooks", "operation_attempts", "delivery_failures", "ledger_lines")
INTERNAL = (
    "audit_write", "emit_payment_event", "emit_fact_event", "emit_child_money", "emit_refund_event",
    "emit_dispute_event", "ledger_write", "changed_columns", "refuse_change", "audit_write_all", "reconcile_soon",
    "reconcile_soon_all", "reconcile_sooner", "end_awaited_webhook",
)  # fmt: skip
ALL_TABLES = "select schemaname, tablename from pg_tables where schemaname in ('postbox', 'procrastinate')"


def privileges(conn: Connection, role: str, privilege: str) -> set[str]:
    rows = conn.execute(
        f"select schemaname || '.' || tablename as name from ({ALL_TABLES}) t"
        " where has_table_privilege(%s, format('%%I.%%I', schemaname, tablename), %s)",
        [role, privilege],
    )
    return {row["name"] for row in rows}


@pytest.mark.parametrize("privilege", ["TRIGGER", "TRUNCATE", "REFERENCES", "MAINTAIN"])
@pytest.mark.parametrize("role", [*RUNTIME, LOGIN])
def test_no_runtime_role_may_touch_the_shape_of_any_table(conn: Connection, role: str, privilege: str) -> None:
    assert privileges(conn, role, privilege) == set()


@pytest.mark.parametrize("role", RUNTIME)
@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_is_append_only_is_so_for_every_runtime_role(conn: Connection, table: str, role: str) -> None:
    merchant_id = factories.payment(conn, "submitted")["merchant_id"]
    for statement in (
        f"update postbox.{table} set merchant_id = %s",
        f"delete from postbox.{table} where merchant_id = %s",
    ):
        assert answer(conn, statement, [merchant_id], role=role) == "42501"


def test_what_is_append_only_is_so_for_the_owner(conn: Connection) -> None:
    factories.payment(conn, "submitted")
    for table in ("audit_log", "events"):
        assert answer(conn, f"update {table} set merchant_id = merchant_id", actor="system") == "PB004"
        assert answer(conn, f"delete from {table}", actor="system") == "PB004"


@pytest.mark.parametrize("role", RUNTIME)
def test_nobody_writes_the_audit_or_an_event_by_hand(conn: Connection, role: str) -> None:
    for table in ("audit_log", "events", "subscriptions", "payment_transitions", "role_actors", "topics"):
        row = conn.execute(
            "select has_any_column_privilege(%(r)s, %(t)s, 'INSERT')"
            " or has_any_column_privilege(%(r)s, %(t)s, 'UPDATE')"
            " or has_table_privilege(%(r)s, %(t)s, 'DELETE') as may",
            {"r": role, "t": f"postbox.{table}"},
        ).fetchone()
        assert row == {"may": False}, table


@pytest.mark.parametrize("role", [*RUNTIME, LOGIN, "public"])
@pytest.mark.parametrize("function", INTERNAL)
def test_internal_functions_are_nobodys(conn: Connection, function: str, role: str) -> None:
    rows = conn.execute(
        "select has_function_privilege(%s, oid, 'EXECUTE') as may from pg_proc"
        " where pronamespace = 'postbox'::regnamespace and proname = %s",
        [role, function],
    ).fetchall()
    assert [row["may"] for row in rows] == [False]


def test_public_may_execute_nothing_of_ours(conn: Connection) -> None:
    rows = conn.execute(
        "select p.oid::regprocedure::text as name from pg_proc p where p.pronamespace in"
        " ('postbox'::regnamespace, 'procrastinate'::regnamespace)"
        " and has_function_privilege('public', p.oid, 'EXECUTE')"
    ).fetchall()
    assert rows == []


def test_a_function_that_is_new_is_nobodys_until_it_is_granted(conn: Connection) -> None:
    factories.act(conn, "system")
    conn.execute("create function fresh() returns int language sql as 'select 1'")
    row = conn.execute("select has_function_privilege('public', 'fresh()', 'EXECUTE') as may").fetchone()
    assert row == {"may": False}


def test_runtime_roles_may_not_execute_trigger_functions_of_ours(conn: Connection) -> None:
    rows = conn.execute(
        "select p.proname, r.rolname from pg_proc p, pg_roles r where p.pronamespace = 'postbox'::regnamespace"
        " and p.prorettype = 'trigger'::regtype and r.rolname = any(%s)"
        " and has_function_privilege(r.oid, p.oid, 'EXECUTE')",
        [list(RUNTIME)],
    ).fetchall()
    assert rows == []


@pytest.mark.parametrize("role", [*RUNTIME, LOGIN])
def test_no_role_may_make_tables_or_schemas(conn: Connection, role: str) -> None:
    row = conn.execute(
        "select has_database_privilege(%(r)s, current_database(), 'TEMP') as temp,"
        " has_database_privilege(%(r)s, current_database(), 'CREATE') as schemas,"
        " (select bool_or(has_schema_privilege(%(r)s, oid, 'CREATE')) from pg_namespace"
        "  where nspname !~ '^pg_') as tables",
        {"r": role},
    ).fetchone()
    assert row == {"temp": False, "schemas": False, "tables": False}


@pytest.mark.parametrize("role", RUNTIME)
def test_a_temporary_table_is_refused(conn: Connection, role: str) -> None:
    assert answer(conn, "create temporary table mine (id int)", role=role) == "42501"


def test_the_login_inherits_nothing(database: Clone) -> None:
    with database.connect() as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("select from postbox.payments")


def test_the_login_may_play_the_runtime_roles_and_no_other(database: Clone) -> None:
    conn = database.connect()
    for role in RUNTIME:
        conn.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    for role in ("postbox_owner", "postgres"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(sql.SQL("set role {}").format(sql.Identifier(role)))


def test_compliance_reads_reports_and_nothing_else(conn: Connection) -> None:
    for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        assert privileges(conn, "postbox_compliance", privilege) == set()
    views = conn.execute("select viewname from pg_views where schemaname = 'report_v1'").fetchall()
    assert views, "there are reports"
    for view in views:
        statement = f"select * from report_v1.{view['viewname']} limit 0"
        assert answer(conn, statement, role="postbox_compliance") == ACCEPTED
        assert answer(conn, f"delete from report_v1.{view['viewname']}", role="postbox_compliance") in (
            "42501",
            "55000",
        )


def definer_triggers(conn: Connection) -> list[str]:
    rows = conn.execute(
        "select proname from pg_proc where pronamespace = 'postbox'::regnamespace and prosecdef"
        " and prorettype = 'trigger'::regtype order by proname"
    )
    return [row["proname"] for row in rows]


FORGED_ON = ("events", "payments", "operations", "webhooks", "provider_calls", "webhook_rejections", "ledger_lines")


def test_a_definer_trigger_hung_on_a_temporary_table_serves_only_its_own(conn: Connection) -> None:
    """Even the owner, who may execute them and was given TEMP, forges nothing with them."""
    conn.execute(f"grant temporary on database {conn.info.dbname} to postbox_owner")
    functions = definer_triggers(conn)
    assert len(functions) >= 12
    for function in functions:
        table = function.split("_")[0]
        like = next((name for name in FORGED_ON if function.startswith(name) or name.startswith(table)), FORGED_ON[0])
        forge = (
            f"create temporary table forged (like postbox.{like});"
            f"create trigger t before insert on forged for each row execute function postbox.{function}();"
            "insert into forged default values"
        )
        with conn.transaction(force_rollback=True):
            factories.act(conn, "system")
            with pytest.raises(psycopg.Error) as refused:
                conn.execute(forge.encode())
        assert refused.value.sqlstate == "PB002", function
        # it says so of the table, before anything that it may refuse of a row
        assert re.match(rf"{function} [a-z ]+ postbox\.", refused.value.diag.message_primary or ""), function


@pytest.mark.parametrize("role", RUNTIME)
def test_a_runtime_role_given_temp_cannot_hang_one_up_at_all(conn: Connection, role: str) -> None:
    conn.execute(f"grant temporary on database {conn.info.dbname} to {role}")
    conn.execute(f"grant usage on schema postbox to {role}")
    table = "create temporary table forged (id int)"
    assert answer(conn, table, role=role) == ACCEPTED
    for function in definer_triggers(conn):
        forge = f"{table};create trigger t before insert on forged execute function postbox.{function}()"
        assert answer(conn, forge, role=role) == "42501", function


@pytest.mark.parametrize("role", RUNTIME)
def test_no_runtime_role_replaces_a_function_or_drops_a_trigger(conn: Connection, role: str) -> None:
    for statement in (
        "create or replace function postbox.payments_200_check() returns trigger language plpgsql"
        " as 'begin return new; end'",
        "drop trigger payments_200_check on postbox.payments",
        "alter table postbox.payments disable trigger payments_200_check",
        "alter table postbox.payments disable trigger all",
    ):
        assert answer(conn, statement, role=role) == "42501"


def test_the_api_may_not_set_the_facts_of_a_payment_but_reserve_what_it_asks_for(conn: Connection) -> None:
    rows = conn.execute(
        "select column_name from information_schema.column_privileges where grantee = 'postbox_api'"
        " and table_schema = 'postbox' and table_name = 'payments' and privilege_type = 'UPDATE'"
    )
    assert {row["column_name"] for row in rows} == {"state", "cancel_reason", "amount_refund_pending"}


def test_only_the_worker_may_write_a_reference_of_the_provider(conn: Connection) -> None:
    """Or a tenant could learn from the global index that another tenant's reference exists."""
    may = {
        (table, role, privilege)
        for table in ("payments", "refunds", "disputes") for role in RUNTIME for privilege in ("INSERT", "UPDATE")
        if conn.execute(
            "select has_column_privilege(%s, %s, 'provider_ref', %s) as may", [role, f"postbox.{table}", privilege]
        ).fetchone() == {"may": True}
    }  # fmt: skip
    writes = {("payments", "UPDATE"), ("refunds", "UPDATE"), ("disputes", "INSERT"), ("disputes", "UPDATE")}
    assert may == {(table, "postbox_worker", privilege) for table, privilege in writes}
