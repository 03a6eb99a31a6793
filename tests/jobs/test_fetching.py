"""A worker fetches in turn, and reads no more of the queue for it than what it takes, whatever else stands in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.config import PLATFORM_MERCHANT_ID
from app.db import QUERIES, Database
from app.model.actor import Actor, ActorType, Role
from jobs import oldest as queue_begins
from jobs.app import CLOCK_QUEUE, make_app
from jobs.flight import Flight
from jobs.oldest import SLACK, OldestJob
from jobs.queue import LOCAL, REMOTE, FencedJobManager, autocommit_pool, opened
from jobs.turn import NOBODY
from tests import factories
from tests.fixtures.database import Clone, Connection

LOUD, QUIET = UUID(int=2), UUID(int=1)
WORKER = Actor(ActorType.WORKER, "test", Role.WORKER)
# Entries of an index that a statement may read for one job of its own.
FEW = 20
FETCH, PICK = "fetch", "pick siblings"
STATEMENTS = {
    FETCH: QUERIES["deliveries.fetch_job"].encode(),
    PICK: b"select * from pick_siblings(%(after)s, %(oldest)s, %(limit)s, %(handlers)s)",
}
PARAMS = {
    FETCH: {"queues": [CLOCK_QUEUE, REMOTE], "others": [], "after": NOBODY, "worker_id": None},
    PICK: {"after": NOBODY, "limit": 100, "handlers": ["watch_outcome"]},
}


def waiting(conn: Connection, queue: str, count: int, merchant_id: UUID) -> int:
    """Jobs as the fan-out makes them, their deliveries left out; the number of the last."""
    row = conn.execute(
        "with made as (insert into procrastinate_jobs (queue_name, task_name, args) select %(queue)s, 'postbox.x',"
        " jsonb_build_object('merchant_id', %(merchant)s::uuid, 'event_id', gen_random_uuid(), 'handler', 'x')"
        " from generate_series(1, %(count)s) returning id) select max(id) as last from made",
        {"queue": queue, "count": count, "merchant": merchant_id},
    ).fetchone()
    assert row is not None
    return int(row["last"])


def read_by(conn: Connection, statement: str, **params: Any) -> int:
    """How many entries of all indexes of the queue and of deliveries this statement read, the dead ones too."""
    before = entries_read(conn, "procrastinate_jobs", "deliveries")
    conn.execute(STATEMENTS[statement], {**PARAMS[statement], **params})
    return entries_read(conn, "procrastinate_jobs", "deliveries") - before


def entries_read(conn: Connection, *tables: str) -> int:
    """How many entries of all indexes of these tables were read so far, the dead ones too."""
    conn.execute("select pg_stat_force_next_flush()")
    row = conn.execute(
        "select sum(idx_tup_read) as n from pg_stat_user_indexes where relname = any(%s)", [list(tables)]
    ).fetchone()
    assert row is not None
    return int(row["n"])


def old_snapshot(database: Clone) -> None:
    """Somebody sees what there is now, for as long as the database is open."""
    conn = database.connect(admin=True, autocommit=False)
    conn.execute("set transaction isolation level repeatable read")
    conn.execute("select count(*) from procrastinate_jobs")


@contextlib.asynccontextmanager
async def fetching(database: Clone, oldest: OldestJob | None = None) -> AsyncIterator[tuple[FencedJobManager, int]]:
    """Who fetches for our worker, and as whom."""
    application = make_app()
    async with opened(autocommit_pool(database.url, size=2)) as pool, application.open_async(pool):
        manager = FencedJobManager(application.connector, Flight(200, patience=1.0), oldest or OldestJob())
        yield manager, await manager.register_worker()


def fetched(database: Clone, queues: list[str], count: int, oldest: OldestJob) -> list[str]:
    """Whose the next jobs are that our worker fetches."""

    async def fetch() -> list[str]:
        async with fetching(database, oldest) as (manager, worker):
            jobs = [await manager.fetch_job(queues, worker) for _ in range(count)]
            return [job.task_kwargs["merchant_id"] for job in jobs if job is not None]

    return asyncio.run(fetch())


@pytest.mark.parametrize("queues", [[CLOCK_QUEUE, REMOTE], [LOCAL]], ids=["remote", "local"])
def test_a_merchant_that_came_last_is_fetched_next_whatever_another_has_waiting(
    database: Clone, queues: list[str]
) -> None:
    conn = database.connect(admin=True)
    waiting(conn, queues[-1], 500, LOUD)
    waiting(conn, queues[-1], 2, QUIET)
    whose = fetched(database, queues, 5, OldestJob())
    assert whose == [str(who) for who in (QUIET, LOUD, QUIET, LOUD, LOUD)]


def test_what_the_queue_alone_says_waits_for_no_disk_and_what_a_delivery_does_as_the_server_says(
    database: Clone,
) -> None:
    asks = "select setting, source from pg_settings where name = 'synchronous_commit'"

    async def asked() -> tuple[str, str] | None:
        async with opened(autocommit_pool(database.url, size=1)) as pool, pool.connection() as conn:
            return await (await conn.execute(asks)).fetchone()

    assert asyncio.run(asked()) == ("off", "client")
    with Database(database.url, size=1, application="delivery") as pool:
        told = pool.transact(WORKER, lambda tx: tx.connection.execute(asks).fetchone())
    assert told is not None and told["source"] == "command line", "as the cluster of these tests was started"


def test_webhooks_take_a_quarter_of_the_turns_while_a_merchant_waits(database: Clone) -> None:
    conn = database.connect(admin=True)
    for whose in (UUID(PLATFORM_MERCHANT_ID), LOUD):
        waiting(conn, REMOTE, 100, whose)
    conn.execute("select setseed(0.5)")
    jobs = [conn.execute(STATEMENTS[FETCH], PARAMS[FETCH] | {"oldest": 0}).fetchone() for _ in range(100)]
    share = sum(job is not None and job["args"]["merchant_id"] == PLATFORM_MERCHANT_ID for job in jobs)
    assert 15 <= share <= 35


def test_a_turn_of_the_platform_moves_no_merchants_turn(database: Clone) -> None:
    conn = database.connect(admin=True)
    for whose in (UUID(PLATFORM_MERCHANT_ID), LOUD, QUIET):
        waiting(conn, LOCAL, 20, whose)
    everyone = fetched(database, [LOCAL], 60, OldestJob())
    merchants = [whose for whose in everyone if whose != PLATFORM_MERCHANT_ID]
    assert len(everyone) == 60, "what is the platform's is fetched when no merchant waits"
    assert merchants == [str(QUIET), str(LOUD)] * 20


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
    conn.execute("select pg_stat_force_next_flush()")
    row = conn.execute(
        "select idx_blks_hit + idx_blks_read as n from pg_statio_user_indexes"
        " where indexrelname = 'procrastinate_jobs_in_turn'"
    ).fetchone()
    assert row is not None
    return int(row["n"])


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
    conn.execute("select pg_stat_force_next_flush()")
    row = conn.execute(
        "select sum(seq_tup_read) as n from pg_stat_user_tables"
        " where relname in ('payments', 'deliveries', 'procrastinate_jobs')"
    ).fetchone()
    assert row is not None
    return int(row["n"])


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


def to_deliver(conn: Connection, count: int, payment: dict[str, Any]) -> int:
    """Events about a payment, each with a local delivery; the number of the last job."""
    conn.execute(
        "insert into events (merchant_id, topic, payment_id, payload, correlation_id)"
        " select %(merchant_id)s, 'payment.provider_submitted', %(id)s, '{}', 'many'"
        " from generate_series(1, %(count)s)",
        payment | {"count": count},
    )
    row = conn.execute("select max(id) as last from procrastinate_jobs").fetchone()
    assert row is not None
    return int(row["last"])


def test_a_worker_learns_where_the_queue_begins(database: Clone) -> None:
    conn, oldest = database.connect(admin=True), OldestJob()
    gone = waiting(conn, REMOTE, SLACK + 1_000, LOUD)
    conn.execute("delete from procrastinate_jobs")
    waiting(conn, REMOTE, 1, QUIET)
    assert fetched(database, [CLOCK_QUEUE, REMOTE], 1, oldest) == [str(QUIET)]
    assert oldest.number == gone + 1 - SLACK


@pytest.mark.parametrize("late_by", [1, SLACK * 2], ids=["within the slack", "a large transaction"])
def test_a_job_that_is_committed_late_is_fetched(
    database: Clone, late_by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_begins, "SCAN_SECONDS", 0.0)
    monkeypatch.setattr(queue_begins, "FULL_SCANS", float("inf"))
    conn, late, oldest = database.connect(admin=True), database.connect(admin=True, autocommit=False), OldestJob()
    waiting(late, REMOTE, 1, LOUD)
    waiting(conn, REMOTE, late_by, uuid4())
    conn.execute("delete from procrastinate_jobs where id > 1 and id <= %s", [late_by])
    assert fetched(database, [CLOCK_QUEUE, REMOTE], 2, oldest) != [str(LOUD)], "nobody sees it yet"
    late.commit()
    assert str(LOUD) in fetched(database, [CLOCK_QUEUE, REMOTE], 2, oldest)
