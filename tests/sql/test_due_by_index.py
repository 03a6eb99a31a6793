"""What the clock looks for is found by index, however much there is that is not due: a sweep costs what it finds."""

from __future__ import annotations

import pytest

from app.db import QUERIES
from tests.factories import Connection
from tests.fixtures.database import Clone

NOBODY = "00000000-0000-0000-0000-000000000000"
PARAMS = {
    "limit": 10, "keep": 600.0, "provider": "stripe", "pause_recheck": 60.0, "again": 60.0, "quiet_for": 60.0,
    "silent_for": 20.0, "state": "submitted", "updated_at": "-infinity", "observe_at": "-infinity",
    "merchant_id": NOBODY, "payment_id": NOBODY,
}  # fmt: skip
SWEEPS = {
    "deliveries.promote": "(due_at <= statement_timestamp())",
    "payments.due_observations": "(observe_at <= statement_timestamp())",
    "payments.expired_actions": "(action_expires_at <= statement_timestamp())",
    "operations.expired_leases": "(lease_expires_at <= statement_timestamp())",
    "reconcile_due.lock_due": "(due_at <= statement_timestamp())",
    "reconcile_due.arm_silent": "(updated_at < (statement_timestamp() - ",
    "idempotency_keys.prune": "(created_at < (statement_timestamp() - ",
}


@pytest.fixture
def conn(database: Clone) -> Connection:
    """Of a database of its own: plans depend on what other tests have left in a table."""
    return database.connect(admin=True, autocommit=False)


def plan_of(conn: Connection, query: str) -> list[str]:
    """As it is in a large table, however small this one is: in the order of an index, where one has it."""
    conn.execute("set local enable_seqscan = off")
    conn.execute("set local enable_bitmapscan = off")
    conn.execute("set local enable_sort = off")
    return [row["QUERY PLAN"] for row in conn.execute(f"explain {QUERIES[query]}".encode(), PARAMS)]


@pytest.mark.parametrize("query", SWEEPS)
def test_a_sweep_reads_of_the_index_what_is_due(conn: Connection, query: str) -> None:
    plan = plan_of(conn, query)
    conditions = [line for line in plan if "Index Cond" in line]
    assert any(SWEEPS[query] in line for line in conditions), "\n".join(plan)


def test_the_status_page_reads_the_last_entry_of_an_index_and_no_table(conn: Connection) -> None:
    plan = plan_of(conn, "status.lately")
    read = {line.split(" using ")[1].split()[0] for line in plan if "Backward using" in line}
    last = {"webhooks_pkey", "webhook_rejections_pkey", "provider_transactions_available", "payments_settled"}
    assert read == last, "\n".join(plan)


def test_what_runs_is_found_without_reading_what_waits_to_run(conn: Connection) -> None:
    plan = plan_of(conn, "deliveries.stalled")
    assert any("procrastinate_jobs_lock_idx_v1" in line for line in plan), "\n".join(plan)


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
