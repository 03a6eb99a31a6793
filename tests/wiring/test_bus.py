"""What the database names and what Python has are the same: topics, handlers, lanes, tasks, queues, Procrastinate."""

from __future__ import annotations

import inspect
import re
from importlib import import_module, resources
from importlib.metadata import version
from pathlib import Path

import pytest

from app.config import ROOT
from jobs.handlers import HANDLERS
from tests import factories
from tests.factories import Connection
from tests.sql.edges import DISPUTE_EDGES, EDGES, REFUND_EDGES

KINDS = "payment|operation|webhook|fact|refund|dispute|discrepancy|payout|reconciliation"
HANDLER_MODULES = ROOT / "jobs" / "handlers"


def subscriptions(conn: Connection) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in conn.execute("select handler, lane from subscriptions"):
        found.setdefault(row["handler"], set()).add(row["lane"])
    return found


def test_every_subscribed_handler_exists_in_its_lane_and_no_other_does(conn: Connection) -> None:
    assert {name: {handler.lane} for name, handler in HANDLERS.items()} == subscriptions(conn)


@pytest.mark.parametrize("name", HANDLERS)
def test_every_handler_is_alone_in_the_module_of_its_name(name: str) -> None:
    assert import_module(f"jobs.handlers.{name}").HANDLER is HANDLERS[name]
    assert HANDLERS[name].name == name


def test_every_module_of_handlers_is_registered() -> None:
    modules = {path.stem for path in HANDLER_MODULES.glob("*.py")} - {"__init__", "handler"}
    assert modules == set(HANDLERS)


def test_every_topic_can_be_emitted_and_every_emitted_topic_is_known(conn: Connection) -> None:
    """From an edge or by name in a trigger function."""
    topics = {row["topic"] for row in conn.execute("select topic from topics")}
    bodies = conn.execute("select prosrc from pg_proc where pronamespace = 'postbox'::regnamespace").fetchall()
    text = " ".join(row["prosrc"] for row in bodies)
    named = set(re.findall(rf"'((?:{KINDS})\.[a-z_]+)'", text))
    audited_only = {"payment.created", "payment.observed", "operation.requested", "webhook.refused", "webhook.received",
                    "webhook.replayed", "webhook.awaited_no_more"}  # fmt: skip
    from_edges = {event for event, _, _ in EDGES.values()} | {*REFUND_EDGES.values(), *DISPUTE_EDGES.values()}
    assert topics <= from_edges | named
    assert from_edges | (named - audited_only) <= topics


def test_the_trigger_enqueues_a_task_that_the_worker_has(conn: Connection) -> None:
    factories.payment(conn, "confirmed")
    tasks = {row["task_name"] for row in conn.execute("select distinct task_name from procrastinate_jobs")}
    lanes = {handler.lane for handler in HANDLERS.values()}
    assert tasks == {f"postbox.{lane}" for lane in lanes}
    source = (ROOT / "jobs" / "app.py").read_text()
    for task in tasks:
        assert f'"{task}"' in source or "postbox.{" in source, task


def test_the_schema_comes_from_the_procrastinate_that_is_installed(conn: Connection) -> None:
    """An upgrade that brings migrations of its own needs a migration of ours that includes them."""
    assert version("procrastinate").startswith("3.10.")
    upgrades = sorted(
        p.name for p in resources.files("procrastinate.sql.migrations").iterdir() if p.name.endswith(".sql")
    )
    assert upgrades[-1].startswith("03.04.00_50_post"), "the schema of the installed package has moved on"


def test_the_functions_of_the_queue_are_as_the_fan_out_calls_them(conn: Connection) -> None:
    row = conn.execute(
        "select array_agg(attname::text order by attnum) as names from pg_attribute"
        " where attrelid = 'procrastinate.procrastinate_job_to_defer_v1'::regclass and attnum > 0"
    ).fetchone()
    assert row == {"names": ["queue_name", "task_name", "priority", "lock", "queueing_lock", "args", "scheduled_at"]}


def test_a_handler_says_what_it_does() -> None:
    for name in HANDLERS:
        assert inspect.getdoc(import_module(f"jobs.handlers.{name}")), name


def test_every_module_stands_where_its_path_says() -> None:
    assert Path(inspect.getfile(import_module("jobs.handlers"))).parent == HANDLER_MODULES
