"""The reports are a contract with compliance: these columns, these types, these readers, kept by hand on purpose."""

from __future__ import annotations

import re
from collections import Counter

import psycopg
import pytest

from app.config import PLATFORM_MERCHANT_ID
from tests import factories
from tests.cli import story
from tests.factories import Connection
from tests.fixtures.database import Clone
from tests.ledger import books
from tests.reconciliation import comparing
from tests.reports.contract import CONTRACT


@pytest.fixture
def compliance(database: Clone) -> Connection:
    """A reader who may take the role of compliance and nothing else of it."""
    connection = database.connect()
    connection.execute("set role postbox_compliance")
    connection.execute("set search_path = ''")
    return connection


def test_the_views_have_exactly_these_columns_and_types(conn: Connection) -> None:
    found: dict[str, dict[str, str]] = {}
    for row in conn.execute(
        "select table_name, column_name, data_type from information_schema.columns where table_schema = 'report_v1'"
        " order by table_name, ordinal_position"
    ).fetchall():
        found.setdefault(row["table_name"], {})[row["column_name"]] = row["data_type"]
    assert found == CONTRACT
    assert {name: list(columns) for name, columns in found.items()} == {k: list(v) for k, v in CONTRACT.items()}


def test_every_view_and_column_says_what_it_is(conn: Connection) -> None:
    silent = conn.execute(
        "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum >= 0"
        " where c.relnamespace = 'report_v1'::regnamespace"
        " and coalesce(length(col_description(c.oid, a.attnum)), 0) < 5"
        " union all select relname, null from pg_class where relnamespace = 'report_v1'::regnamespace"
        " and coalesce(length(obj_description(oid)), 0) < 20"
    ).fetchall()
    assert silent == []


def test_views_are_the_owners_and_have_a_security_barrier(conn: Connection) -> None:
    views = conn.execute(
        "select relname, pg_get_userbyid(relowner) as owner, reloptions from pg_class"
        " where relnamespace = 'report_v1'::regnamespace"
    ).fetchall()
    assert {view["relname"] for view in views} == set(CONTRACT)
    assert {(view["owner"], *view["reloptions"]) for view in views} == {("postbox_owner", "security_barrier=true")}


def test_compliance_reads_the_reports_in_plain_sql(database: Clone, compliance: Connection) -> None:
    admin = database.connect(admin=True)
    told = story.settled(admin)
    story.dead(admin, factories.payment(admin))

    def read(statement: str) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in compliance.execute(statement.encode()).fetchall()]

    hashes = read(f"select hash_ok from report_v1.transaction_trace where payment_id = '{told['payment_id']}'")
    assert set(hashes) == {(True,), (None,)}
    settled = read("select captured, provider_fees from report_v1.payment_register where state = 'settled'")
    assert settled == [(1000, 59)]
    calls = read("select operation, step, outcome, status from report_v1.provider_call_log order by at")
    assert calls == [("submit", "create", "ok", 200), ("submit", "confirm", "ok", 200)]
    hooks = read("select event_id, outcome, deliveries, signature_ok from report_v1.webhook_log")
    assert hooks == [(told["evt"], "done", 1, True)]
    letters = read("select bucket, handler, amount_at_risk, message from report_v1.dead_letters")
    assert letters == [("under 1 h", "submit_payment", 1000, "failure 3")]


def test_a_trial_balance_ends_every_day_in_zero_and_opens_with_the_day_before(
    database: Clone, compliance: Connection
) -> None:
    admin = database.connect(admin=True)
    told = story.refunded_and_disputed(admin)
    admin.execute("alter table ledger_entries disable trigger user")
    admin.execute("update ledger_entries set recorded_at = recorded_at - interval '1 day' where kind like 'payment%%'")
    days = compliance.execute(
        "select day, sum(closing)::int as total, sum(debits - credits)::int as moved, count(*) as accounts"
        " from report_v1.ledger_trial_balance group by day order by day"
    ).fetchall()
    assert [(row["total"], row["moved"]) for row in days] == [(0, 0), (0, 0)]
    assert days[0]["accounts"] == days[1]["accounts"]
    cleared = compliance.execute(
        "select opening, debits, credits, closing from report_v1.ledger_trial_balance where account = 'clearing:stripe'"
        " order by day"
    ).fetchall()
    assert [tuple(row.values()) for row in cleared] == [(0, 1_000, 0, 1_000), (1_000, 1_000, 2_000, 0)], told.names


def test_a_payout_is_settled_when_its_lines_are_its_amount(database: Clone, compliance: Connection) -> None:
    admin = database.connect(admin=True)
    told = story.settled(admin)
    with factories.acting(admin, "reconciler"):
        admin.execute(
            "insert into payouts (merchant_id, provider, account, ref, status, currency, amount, created_at_provider,"
            " arrives_at, automatic, lines_read_at) select merchant_id, provider, account, 'po_' || amount,"
            " 'in_transit', 'usd', amount, now(), now(), true, now() from provider_accounts,"
            " unnest(array[941, 900]) amount where account = 'default'"
        )
    own = books.fact(admin, None, kind="payout", gross=-941, fee=0)
    admin.execute("update provider_transactions set payout_ref = 'po_941' where ref = %(ref)s", own)
    read = "select expected, actual, delta, lines, matched_at is not null as matched from report_v1.settlement_report"
    for ref, line in (("po_941", (941, 941, 0, 1, True)), ("po_900", (900, 941, 41, 1, False))):
        admin.execute("update provider_transactions set payout_ref = %s where ref = %s", [ref, told["txn"]])
        rows = compliance.execute(f"{read} where ref = %s".encode(), [ref]).fetchall()
        assert [tuple(row.values()) for row in rows] == [line]


def test_discrepancies_are_counted_by_kind_age_and_who_closed_them(database: Clone, compliance: Connection) -> None:
    admin = database.connect(admin=True)
    for days in (0, 5):
        p = factories.payment(admin, "failed")
        books.fact(admin, p)
        comparing.compare(admin, p)
        admin.execute("alter table discrepancies disable trigger user")
        admin.execute(
            "update discrepancies set first_seen_at = first_seen_at - make_interval(days => %s),"
            " sla_due_at = sla_due_at - make_interval(days => %s) where payment_id = %s",
            [days, days, p["id"]],
        )
        admin.execute("alter table discrepancies enable always trigger discrepancies_200_check")
    with factories.acting(admin, "operator"):
        admin.execute(
            "update discrepancies set status = 'resolved', closed_at = clock_timestamp(), resolved_by = 'ann',"
            " resolution_code = 'explained', resolution_note = 'wire' where payment_id = %s",
            [p["id"]],
        )
    rows = compliance.execute(
        "select status, bucket, resolver, discrepancies, delta, breached"
        " from report_v1.discrepancy_ageing order by status"
    ).fetchall()
    assert [tuple(row.values()) for row in rows] == [
        ("closed", "3-7 d", "ann", 1, 1_000, 1), ("open", "0-1 d", None, 1, 1_000, 0),
    ]  # fmt: skip


def test_a_refused_webhook_is_a_row_of_its_second(database: Clone, compliance: Connection) -> None:
    admin = database.connect(admin=True)
    with factories.acting(admin, "api", merchant_id=PLATFORM_MERCHANT_ID):
        admin.execute(
            "insert into webhook_rejections (merchant_id, provider, account, second, reason, count) values"
            " ('00000000-0000-0000-0000-000000000000', 'stripe', 'default', date_trunc('second', now()),"
            " 'signature', 7)"
        )
    rows = compliance.execute("select signature_ok, refusals, outcome from report_v1.webhook_log").fetchall()
    assert [tuple(row.values()) for row in rows] == [(False, 7, "refused: signature")]


@pytest.mark.parametrize(
    "statement",
    [
        "select from postbox.payments",
        "select from postbox.audit_log",
        "select from procrastinate.procrastinate_jobs",
        "select postbox.uuidv7()",
        "select postbox.current_epoch()",
        "delete from report_v1.payment_register",
        "update report_v1.provider_call_log set late = true",
        "create table report_v1.mine ()",
        "create temporary table mine ()",
    ],
)
def test_compliance_may_do_nothing_else(compliance: Connection, statement: str) -> None:
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
        compliance.execute(statement.encode())


# How a trace is asked for, and how often it looks into each table then. A webhook is about a payment by id or by
# reference; the audit and the events of one may name no payment.
ASKED = {
    "select * from report_v1.transaction_trace where payment_id = %(payment_id)s order by at": {},
    "select * from report_v1.transaction_trace where payment_id = %(payment_id)s and merchant_id = %(merchant_id)s": {},
    "select * from report_v1.transaction_trace where payment_id = (select %(payment_id)s::uuid) limit 10": {},
    "select t.*, r.state from report_v1.payment_register r join report_v1.transaction_trace t using (payment_id)"
    " where r.payment_id = %(payment_id)s": {"payments": 2},
}
LOOKUPS = {
    "payments": 1, "audit_log": 2, "webhooks": 2, "events": 2, "deliveries": 1, "delivery_failures": 1, "operations": 1,
    "operation_attempts": 1, "provider_calls": 1, "provider_transactions": 1,
}  # fmt: skip


def test_a_trace_looks_into_every_table_once_by_index(database: Clone, compliance: Connection) -> None:
    admin = database.connect(admin=True)
    told = story.settled(admin)
    story.dead(admin, factories.payment(admin))
    _crowd(admin)
    for statement, more in ASKED.items():
        plan = [row["QUERY PLAN"] for row in compliance.execute(f"explain {statement}".encode(), told.names)]
        scans = [line for line in plan if re.search(r"(Scan|Index).* on (postbox\.)?\w+", line)]
        looked = Counter(table for table in COPIES for line in scans if re.search(rf" on {table} ", line))
        assert looked == LOOKUPS | more, "\n".join(plan)
        assert not any("Seq Scan" in line for line in scans if "merchants" not in line), "\n".join(plan)


# What is new in each copy of a row; everything else is copied. `g.i` counts the copies.
NEW, TEXT_ID = "gen_random_uuid()", "md5(random()::text)"
COPIES = {
    "payments": {"id": NEW, "provider_ref": TEXT_ID},
    "operations": {"id": NEW, "payment_id": NEW},
    "operation_attempts": {
        "operation_id": "md5(g.i::text)::uuid",
        "idempotency_key": "md5(g.i::text)::uuid || ':' || step || ':' || n",
    },
    "provider_calls": {"id": NEW, "payment_id": NEW, "operation_id": NEW},
    "provider_transactions": {"ref": TEXT_ID, "payment_id": NEW},
    "webhooks": {"id": NEW, "payment_id": NEW, "payment_ref": TEXT_ID, "provider_event_id": TEXT_ID},
    "events": {"id": NEW, "payment_id": NEW, "webhook_id": NEW},
    "deliveries": {"event_id": NEW, "payment_id": NEW},
    "delivery_failures": {"id": NEW, "event_id": NEW},
    "audit_log": {"id": NEW, "payment_id": NEW, "entity_id": TEXT_ID},
}


def _crowd(conn: Connection) -> None:
    """Thousands of copies of each row under 200 merchants; guards and foreign keys are off, these are only numbers."""
    conn.execute("set session_replication_role = replica")
    for table, new in COPIES.items():
        columns = conn.execute(
            "select quote_ident(column_name) as name from information_schema.columns"
            " where table_schema = 'postbox' and table_name = %s and is_generated = 'NEVER'",
            [table],
        ).fetchall()
        names = [row["name"] for row in columns]
        values = [new.get(name, "md5((g.i % 200)::text)::uuid" if name == "merchant_id" else name) for name in names]
        conn.execute(f"alter table {table} disable trigger user".encode())
        conn.execute(
            f"insert into {table} ({', '.join(names)})"
            f" select {', '.join(values)} from {table}, generate_series(1, 3000) g (i)".encode()
        )
        conn.execute(f"analyze {table}".encode())
