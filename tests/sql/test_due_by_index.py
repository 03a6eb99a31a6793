"""What the clock and operators look for is found by index, however much there is: looking costs what is found."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.db import QUERIES
from app.model.states import OPEN, State
from app.services.trace import KINDS, ids_in
from cli.dev.postgres import Cluster
from tests.factories import Connection
from tests.fixtures.database import clone

NOBODY = "00000000-0000-0000-0000-000000000000"
PARAMS = {
    "limit": 10, "keep": 600.0, "provider": "stripe", "pause_recheck": 60.0, "again": 60.0, "quiet_for": 60.0,
    "silent_for": 20.0, "state": "submitted", "updated_at": "-infinity", "observe_at": "-infinity",
    "merchant_id": NOBODY, "payment_id": NOBODY, "after": NOBODY, "pause_longest": 300.0, "since": None,
}  # fmt: skip
SWEEPS = {
    "deliveries.promote": "(due_at <= statement_timestamp())",
    "payments.due_observations": "(observe_at <= statement_timestamp())",
    "payments.expired_actions": "(action_expires_at <= statement_timestamp())",
    "operations.expired_leases": "(lease_expires_at <= statement_timestamp())",
    "reconcile_due.lock_due": "(due_at <= statement_timestamp())",
    "reconcile_due.first_due": "(due_at >= '-infinity'",
    "payments.first_observation": "(observe_at >= '-infinity'",
    "operations.first_lease": "(lease_expires_at >= '-infinity'",
    "reconcile_due.arm_silent": "(updated_at < (statement_timestamp() - ",
    "idempotency_keys.prune": "(created_at < (statement_timestamp() - ",
}

# What one run names by its key, and in which table that is.
MARKS = ("claim", "finish", "defer", "bury", "count_failure", "rescue", "lock_again", "finish_answered")
BY_THEIR_KEY = {f"deliveries.{mark}": "deliveries" for mark in MARKS} | {"operations.complete_call": "provider_calls"}
A_RUN = {
    **dict.fromkeys(("event_id", "call_id", "since"), NOBODY),
    **dict.fromkeys(("handler", "why", "ref", "account", "outcome", "provider_request_id", "response_sha256"), ""),
    **dict.fromkeys(("seconds", "longest", "cap", "backoff", "spread"), 1.0),
    **{name: [] for name in ("merchant_ids", "event_ids", "handlers", "job_ids", "child_events")},
    **dict.fromkeys(("job_id", "http_status", "duration_ms"), 1),
    **dict.fromkeys(("capped", "whole", "replayed", "late"), True),
    **dict.fromkeys(("error_class", "error_detail"), None),
    "reason": "misuse", "lane": "local", "asked_at": "-infinity", "response": "{}",
}  # fmt: skip


@pytest.fixture(scope="module")
def untouched(cluster: Cluster, template: str) -> Iterator[Connection]:
    """To a database of their own: plans depend on what other tests have left in a table."""
    for made in clone(cluster, template):
        yield made.connect(admin=True, autocommit=False)


@pytest.fixture
def conn(untouched: Connection) -> Iterator[Connection]:
    yield untouched
    untouched.rollback()


def plan_of(conn: Connection, query: str, params: dict[str, Any] = PARAMS) -> list[str]:
    """As it is in a large table, however small this one is: in the order of an index, where one has it."""
    conn.execute("set local enable_seqscan = off")
    conn.execute("set local enable_bitmapscan = off")
    conn.execute("set local enable_sort = off")
    return [row["QUERY PLAN"] for row in conn.execute(f"explain {QUERIES[query]}".encode(), params)]


@pytest.mark.parametrize("query", SWEEPS)
def test_a_sweep_reads_of_the_index_what_is_due(conn: Connection, query: str) -> None:
    plan = plan_of(conn, query)
    conditions = [line for line in plan if "Index Cond" in line]
    assert any(SWEEPS[query] in line for line in conditions), "\n".join(plan)


def test_what_is_due_is_found_by_merchant_and_date_and_nowhere_else(conn: Connection) -> None:
    plan = plan_of(conn, "deliveries.promote")
    read = {line.split(" using ")[1].split()[0] for line in plan if "Scan" in line and " on deliveries " in line}
    # by their key they are updated
    assert read == {"deliveries_waiting_in_turn", "deliveries_pkey"}, "\n".join(plan)


def test_the_status_page_reads_the_last_entry_of_an_index_and_no_table(conn: Connection) -> None:
    plan = plan_of(conn, "status.lately")
    read = {line.split(" using ")[1].split()[0] for line in plan if "Backward using" in line}
    last = {"webhooks_pkey", "webhook_rejections_pkey", "provider_transactions_available", "payments_settled"}
    assert read == last, "\n".join(plan)


def test_what_runs_is_found_without_reading_what_waits_to_run(conn: Connection) -> None:
    plan = plan_of(conn, "deliveries.stalled")
    assert any("procrastinate_jobs_lock_idx_v1" in line for line in plan), "\n".join(plan)


@pytest.mark.parametrize("prefix", ["", *KINDS.values()])
def test_an_id_that_says_what_it_is_is_looked_for_in_no_other_table(conn: Connection, prefix: str) -> None:
    text = f"{prefix}{'0' * 32}"
    plan = plan_of(conn, "trace.candidates", {"text": text, "limit": 10} | ids_in(text))
    asked = {line.split(" on ")[1].split()[0] for line in plan if " on " in line}
    tables = {"operations": "op_", "events": "evt_", "provider_calls": None}
    for table, its in tables.items():
        assert (table in asked) == (prefix in ("", its)), "\n".join(plan)


def test_a_reference_is_found_whosever_it_is_without_asking_for_each_merchant(conn: Connection) -> None:
    plan = plan_of(conn, "trace.candidates", {"text": "order 1", "limit": 10} | ids_in("order 1"))
    first = plan.index(next(line for line in plan if "payments_by_reference" in line))
    assert "Index Cond: (reference = 'order 1'" in plan[first + 1], "\n".join(plan)
    assert "using payments_by_reference_and_amount" in plan[first], "\n".join(plan)


def test_a_payment_that_a_kept_answer_names_is_not_looked_for_among_all_of_its_merchant(conn: Connection) -> None:
    plan = plan_of(conn, "trace.candidates", {"text": "order 1", "limit": 10} | ids_in("order 1"))
    assert any(" on idempotency_keys k " in line for line in plan), "\n".join(plan)
    # it is one of what was found, and these are looked up by their keys
    assert not any("k.merchant_id" in line for line in plan), "\n".join(plan)


def test_what_waits_is_found_by_its_key_though_nothing_waited_when_it_was_counted(conn: Connection) -> None:
    source = conn.execute("select prosrc from pg_proc where proname = 'watch_outcome'").fetchone()
    assert source is not None
    statement = source["prosrc"]
    for place, name in enumerate(("p_merchant_ids", "p_payment_ids", "p_card", "p_bank"), 1):
        statement = statement.replace(name, f"${place}")
    conn.execute(f"prepare watch (uuid[], uuid[], float8, float8) as {statement}".encode())
    plan = [row["QUERY PLAN"] for row in conn.execute("explain execute watch('{}', '{}', 1, 1)")]
    conn.execute("deallocate watch")
    assert not any("payments_not_final" in line for line in plan), "\n".join(plan)
    assert sum("Index Cond" in line and "(id = " in line for line in plan) == 2, "\n".join(plan)


ALIKE = r"ROW\(reference, merchant_id, amount, created_at\)"
# By which indexes a comparison may read what grows, and how it enters each.
BOOKS = {
    "payments_pkey": r"\(\(merchant_id = .* AND \(id >= .* AND \(id <= ",
    "payments_by_reference_and_amount": rf"\(\({ALIKE} > .* AND \({ALIKE} <= ",
    "ledger_lines_by_payment": r"\(\(account_id = .* AND \(payment_id = ",
    "refunds_by_payment": r"\(\(merchant_id = .* AND \(payment_id >= .* AND \(payment_id <= ",
    "awaited_webhooks_open": r"\(payment_ref = ",
    **dict.fromkeys(
        ("provider_transactions_by_payment", "ledger_entries_by_payment", "operations_by_payment"),
        r"\(\(merchant_id = .* AND \(payment_id = ",
    ),
}
GROWING = "payments|provider_transactions|ledger_lines|ledger_entries|refunds|operations|awaited_webhooks"


def test_books_are_compared_by_keys_by_a_plan_that_was_made_when_there_were_none(conn: Connection) -> None:
    found = conn.execute("select prosrc, proconfig from pg_proc where proname = 'reconcile_payments'").fetchone()
    assert found is not None and "plan_cache_mode=force_generic_plan" in found["proconfig"]
    for setting in found["proconfig"]:
        conn.execute("select set_config(split_part(%(it)s, '=', 1), split_part(%(it)s, '=', 2), true)", {"it": setting})
    statement = found["prosrc"]
    for place, name in enumerate(("p_merchant_ids", "p_payment_ids", "p_scale"), 1):
        statement = statement.replace(name, f"${place}")
    conn.execute(f"prepare compare (uuid[], uuid[], float8) as {statement}".encode())
    plan = [row["QUERY PLAN"] for row in conn.execute("explain execute compare('{}', '{}', 1)")]
    conn.execute("deallocate compare")
    read = entered(plan, GROWING)
    assert {index for index, _ in read} == set(BOOKS), "\n".join(plan)
    assert all(re.match(BOOKS[index], how) for index, how in read), "\n".join(plan)


def entered(plan: list[str], tables: str) -> list[tuple[str, str]]:
    """The indexes by which these tables are read, and how each is entered; no index where one is read as a whole."""
    return [
        (scan[0].partition(" using ")[2].split(" on ")[0], after.partition("Index Cond: ")[2])
        for line, after in itertools.pairwise([*plan, ""])
        if (scan := re.search(rf"(?:Seq|Index).* on (?:{tables}) ", line))
    ]


def test_a_delivery_whose_job_is_lost_is_found_by_its_key_and_not_among_what_waits(conn: Connection) -> None:
    first = {"event_id": NOBODY, "handler": "", "lane": "local", "since": NOBODY}
    plan = plan_of(conn, "deliveries.lost_jobs", PARAMS | first)
    expected = [
        ("deliveries_pkey", r"\(\(merchant_id = .* AND \(event_id = .* AND \(handler = "),
        ("deliveries_runnable", r".* AND \(merchant_id = .* AND \(ROW\(event_id, handler\) > "),
        ("deliveries_runnable", r".* AND \(merchant_id > .* AND \(event_id >= "),
    ]
    for (index, how), (its, pattern) in zip(sorted(entered(plan, "deliveries")), expected, strict=True):
        assert index == its and re.match(pattern, how), "\n".join(plan)


ONE_ROW = r"\(\(merchant_id = .* AND \(id = "
# The pages of operators: of what indexes of large tables each is read, and how it goes to where it begins.
PAGES: list[tuple[str, dict[str, object], dict[str, str]]] = [
    (
        "operator_pages.newest_payments", {"state": None},
        {"payments_by_merchant_newest": r"\(\(merchant_id = .* AND \(ROW\(created_at, id\) < "},
    ),
    (
        "operator_pages.newest_payments", {"state": "failed"},
        {"payments_not_open": r"\(\(merchant_id = .* AND \(state = .* AND \(ROW\(created_at, id\) < "},
    ),
    ("operator_pages.open_payments", {"state": "initiated"}, {"payments_not_final": r"\(state = "}),
    (
        "operator_pages.newest_webhooks", {"type": "a.b"},
        {"webhooks_by_type": r"\(\(merchant_id = .* AND \(type = .* AND \(id < "},
    ),
    ("operator_pages.webhooks_of_event", {"type": None}, {"webhooks_by_event_id": r"\(provider_event_id = "}),
    # either leads straight to one row
    ("operator_pages.webhook", {}, {"webhooks_pkey": ONE_ROW, "webhooks_by_type": ONE_ROW}),
    ("operator_pages.discrepancies", {"status": None}, {"discrepancies_newest": r"\(first_seen_at <= "}),
    (
        "operator_pages.discrepancies", {"status": "resolved"},
        {"discrepancies_by_status": r"\(\(status = .* AND \(ROW\(first_seen_at, id\) < "},
    ),
    ("dead_letters.named", {"name": "letter"}, {"deliveries_dead": "", "deliveries_resolved": ""}),
]  # fmt: skip
PAGE = {
    "limit": 10, "before_at": "2026-01-01T00:00:00Z", "before_id": NOBODY, "merchant_id": None, "webhook_id": NOBODY,
    "provider_event_id": "evt_1",
}  # fmt: skip


@pytest.mark.parametrize(("query", "params", "expected"), PAGES)
def test_a_page_of_operators_begins_where_its_index_is_entered(
    conn: Connection, query: str, params: dict[str, object], expected: dict[str, str]
) -> None:
    plan = plan_of(conn, query, PAGE | params)
    found = entered(plan, "payments|webhooks|deliveries|discrepancies")
    assert found and all(re.match(expected.get(index, "(?!)"), how) for index, how in found), "\n".join(plan)


def test_every_state_is_among_those_of_one_page() -> None:
    listed = {
        page: [set(re.findall(r"'(\w+)'", states)) for states in re.findall(r"p\.state in \(([^)]*)\)", QUERIES[page])]
        for page in ("operator_pages.open_payments", "operator_pages.newest_payments")
    }
    assert listed["operator_pages.open_payments"] == [set(OPEN)]
    assert listed["operator_pages.newest_payments"] == [set(State) - OPEN] * 2


@pytest.mark.parametrize("query", BY_THEIR_KEY)
def test_a_row_that_is_named_is_found_by_its_key_and_not_among_what_waits(conn: Connection, query: str) -> None:
    plan = plan_of(conn, query, PARAMS | A_RUN)
    scans = [line for line in plan if f" on {BY_THEIR_KEY[query]}" in line and "Scan" in line]
    read = {line.partition(" using ")[2].split()[0] for line in scans}
    of_some = conn.execute("select indexrelid::regclass::text as name from pg_index where indpred is not null")
    assert read and read.isdisjoint(row["name"] for row in of_some), "\n".join(plan)


@pytest.mark.parametrize("query", ["deliveries.finish_answered", "deliveries.lost_jobs"])
def test_the_jobs_of_some_deliveries_are_found_one_by_one(conn: Connection, query: str) -> None:
    plan = plan_of(conn, query, PARAMS | A_RUN)
    [place] = [place for place, line in enumerate(plan) if " on procrastinate_jobs j" in line and "Scan" in line]
    assert "using procrastinate_jobs_pkey" in plan[place] and "Index Cond: (id = " in plan[place + 1], "\n".join(plan)


def test_a_group_is_marked_by_its_keys_and_not_among_what_waits(conn: Connection) -> None:
    found = conn.execute("select prosrc from pg_proc where proname = 'finish_group'").fetchone()
    assert found is not None
    source = found["prosrc"]
    for place, name in enumerate(("merchant_ids", "event_ids", "handlers", "job_ids", "own", "worker_id"), 1):
        source = source.replace(f"p_{name}", f"${place}")
    for setting in ("enable_seqscan = off", "enable_bitmapscan = off", "plan_cache_mode = force_generic_plan"):
        conn.execute(f"set local {setting}".encode())
    for table, verb, named in (
        ("deliveries", "update", r"\(\(merchant_id = .* AND \(event_id = .* AND \(handler = "),
        ("procrastinate_jobs", "delete from", r"\(id = ANY \(\$4\)\)"),
    ):
        statement = source[source.index(f"{verb} {table}") :].partition(";")[0]
        conn.execute(f"prepare mark (uuid[], uuid[], text[], bigint[], bigint, bigint) as {statement}".encode())
        explained = conn.execute("explain execute mark('{}', '{}', '{}', '{}', 1, 1)")
        plan = [row["QUERY PLAN"] for row in explained]
        conn.execute("deallocate mark")
        [(index, how)] = entered(plan, table)
        assert index == f"{table}_pkey" and re.match(named, how), "\n".join(plan)
