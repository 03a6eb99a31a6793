"""A worker reads no more of the queue than what it takes, whatever else stands in it."""

from __future__ import annotations

from typing import Any

import pytest

from app.db import QUERIES
from jobs.queue import LOCAL, REMOTE
from jobs.turn import NOBODY
from tests import factories
from tests.fixtures.database import Clone, Connection
from tests.jobs.backlog import (
    FETCH,
    FEW,
    LOUD,
    PARAMS,
    PICK,
    QUIET,
    STATEMENTS,
    counted,
    entries_read,
    old_snapshot,
    to_deliver,
    waiting,
)


def read_by(conn: Connection, statement: str, **params: Any) -> int:
    """How many entries of all indexes of the queue and of deliveries this statement read, the dead ones too."""
    before = entries_read(conn, "procrastinate_jobs", "deliveries")
    conn.execute(STATEMENTS[statement], {**PARAMS[statement], **params})
    return entries_read(conn, "procrastinate_jobs", "deliveries") - before


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_backlog_of_the_other_lane_is_not_read(database: Clone, statement: str) -> None:
    conn = database.connect(admin=True)
    waiting(conn, LOCAL if statement == FETCH else REMOTE, 3_000, LOUD)
    waiting(conn, REMOTE, 1, LOUD)
    assert read_by(conn, statement, oldest=0) < FEW


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_is_gone_but_seen_by_an_old_snapshot_is_not_read(database: Clone, statement: str) -> None:
    conn, lane = database.connect(admin=True), REMOTE if statement == FETCH else LOCAL
    gone = waiting(conn, lane, 3_000, LOUD)
    old_snapshot(database)
    conn.execute("delete from procrastinate_jobs")
    waiting(conn, lane, 1, LOUD)
    assert read_by(conn, statement, oldest=gone + 1) < FEW
    assert read_by(conn, statement, oldest=0) >= 3_000, "and it would have been"


def test_a_merchant_is_found_past_all_that_is_gone_of_the_others(database: Clone) -> None:
    conn = database.connect(admin=True)
    gone = waiting(conn, LOCAL, 6_000, QUIET)
    old_snapshot(database)
    conn.execute("delete from procrastinate_jobs")
    waiting(conn, LOCAL, 1, LOUD)
    before = pages_read(conn)
    conn.execute(STATEMENTS[PICK], PARAMS[PICK] | {"oldest": gone + 1})
    assert pages_read(conn) - before < FEW


def pages_read(conn: Connection) -> int:
    """Of the index that merchants are found by: what it passes over there is no entry that it counts."""
    return counted(
        conn,
        "select idx_blks_hit + idx_blks_read as n from pg_statio_user_indexes"
        " where indexrelname = 'procrastinate_jobs_in_turn'",
    )


def test_a_job_is_finished_past_all_that_ever_ran(database: Clone) -> None:
    conn = database.connect(admin=True)
    waiting(conn, LOCAL, 500, LOUD)
    conn.execute("update procrastinate_jobs set status = 'doing'")
    old_snapshot(database)
    conn.execute("delete from procrastinate_jobs")
    last = waiting(conn, LOCAL, 1, LOUD)
    conn.execute("update procrastinate_jobs set status = 'doing'")
    conn.execute("analyze procrastinate_jobs")
    before = entries_read(conn, "procrastinate_jobs")
    conn.execute(QUERIES["deliveries.finish_job"].encode(), {"job_id": last, "worker_id": None})
    assert entries_read(conn, "procrastinate_jobs") - before < FEW


def test_a_group_reads_of_a_backlog_what_it_takes_though_nothing_waited_when_it_was_counted(database: Clone) -> None:
    conn = database.connect(admin=True)
    to_deliver(conn, 500, factories.payment(conn, "submitted"))
    assert read_by(conn, PICK, oldest=0, limit=3) < FEW


def test_a_group_reads_nothing_of_what_is_done_but_seen_by_an_old_snapshot(database: Clone) -> None:
    conn = database.connect(admin=True)
    payment = factories.payment(conn, "submitted")
    gone = to_deliver(conn, 2_000, payment)
    old_snapshot(database)
    conn.execute("update deliveries set status = 'done', done_at = clock_timestamp(), job_id = null")
    conn.execute("delete from procrastinate_jobs")
    conn.execute("analyze deliveries, procrastinate_jobs")
    to_deliver(conn, 5, payment)
    assert read_by(conn, PICK, oldest=gone + 1, limit=3) < FEW


def test_a_group_reads_no_table_through_however_little_there_was_when_it_was_planned(database: Clone) -> None:
    conn = database.connect(admin=True)
    first, payment = (factories.payment(conn, "submitted") for _ in range(2))
    carry_out(conn, delivery_of(conn, first))
    to_deliver(conn, 500, payment)
    own = delivery_of(conn, payment)
    before = rows_read_through(conn)
    carry_out(conn, own)
    assert rows_read_through(conn) == before


def delivery_of(conn: Connection, payment: dict[str, Any]) -> dict[str, Any]:
    query = "select * from deliveries where payment_id = %s and handler = 'watch_outcome' order by event_id limit 1"
    row = conn.execute(query, [payment["id"]]).fetchone()
    assert row is not None
    return row


def carry_out(conn: Connection, own: dict[str, Any]) -> None:
    """A group of one, as a worker runs it."""
    one: dict[str, Any] = {
        f"{name}s": f"{{{own[name]}}}" for name in ("merchant_id", "event_id", "payment_id", "handler", "job_id")
    }
    about = {
        "whose": own["merchant_id"],
        "after": NOBODY,
        "oldest": 0,
        "limit": 100,
        "own": None,
        "worker_id": None,
    }
    due = {"actor_type": "worker", "card": 600.0, "bank": 600.0}
    with factories.acting(conn, "worker"):
        for name, handlers in (("start_group", "{}"), ("run_batch", ""), ("finish_group", one["handlers"])):
            params = own | one | about | due | {"handlers": handlers}
            conn.execute(QUERIES[f"deliveries.{name}"].encode(), params)


def rows_read_through(conn: Connection) -> int:
    """How many rows of what a group is about were read without an index so far."""
    return counted(
        conn,
        "select sum(seq_tup_read) as n from pg_stat_user_tables"
        " where relname in ('payments', 'deliveries', 'procrastinate_jobs')",
    )


PAUSE = "insert into pauses (kind, name, reason, paused_by) values ('{}', '{}', 'test', 'ana');"
RENAME = (
    "update deliveries set handler = 'other' where merchant_id = '{0}';"
    "update procrastinate_jobs set args = args || '{{\"handler\": \"other\"}}' where args ->> 'merchant_id' = '{0}';"
)
CANNOT_RUN = {
    "a merchant is paused": PAUSE.format("merchant", "{0}"),
    "a handler is paused": RENAME + PAUSE.format("handler", "other"),
    "all have failed": "update deliveries set failures = 1 where merchant_id = '{0}'",
    "of a handler that is not ours": RENAME,
}


@pytest.mark.parametrize("why", CANNOT_RUN)
def test_a_group_reads_few_of_those_that_cannot_run_and_picks_the_others(database: Clone, why: str) -> None:
    conn = database.connect(admin=True)
    stopped, other = (factories.payment(conn, "submitted") for _ in range(2))
    to_deliver(conn, 500, stopped)
    with factories.acting(conn, "operator", role="postbox_owner"):
        conn.execute(CANNOT_RUN[why].format(stopped["merchant_id"]).encode())
    handlers = ["watch_outcome"] if why == "of a handler that is not ours" else ["watch_outcome", "other"]
    assert read_by(conn, PICK, oldest=0, limit=2, handlers=handlers) < 10 * FEW
    picked = conn.execute(STATEMENTS[PICK], PARAMS[PICK] | {"oldest": 0, "handlers": handlers})
    assert {row["merchant_id"] for row in picked} == {other["merchant_id"]}
