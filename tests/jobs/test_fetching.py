"""A worker fetches in turn, from where the queue begins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from app.config import PLATFORM_MERCHANT_ID
from app.db import Database
from app.model.actor import Actor, ActorType, Role
from jobs import oldest as queue_begins
from jobs.app import CLOCK_QUEUE, make_app
from jobs.flight import Flight
from jobs.oldest import SLACK, OldestJob
from jobs.queue import LOCAL, REMOTE, FencedJobManager, autocommit_pool, opened
from tests.fixtures.database import Clone
from tests.jobs.backlog import FETCH, LOUD, PARAMS, QUIET, STATEMENTS, waiting

WORKER = Actor(ActorType.WORKER, "test", Role.WORKER)


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


def test_a_worker_learns_where_the_queue_begins(database: Clone) -> None:
    conn, oldest = database.connect(admin=True), OldestJob()
    gone = waiting(conn, REMOTE, SLACK + 1_000, LOUD)
    conn.execute("delete from procrastinate_jobs")
    waiting(conn, REMOTE, 1, QUIET)
    assert fetched(database, [CLOCK_QUEUE, REMOTE], 1, oldest) == [str(QUIET)]
    assert oldest.number == gone + 1 - SLACK


# How many jobs are committed before it, and the share of the time that full scans may take: next to none, or all of it.
LATE = {"within the slack": (1, 1e-12), "a large transaction": (SLACK * 2, float("inf"))}


@pytest.mark.parametrize(("late_by", "full_scans"), LATE.values(), ids=LATE)
def test_a_job_that_is_committed_late_is_fetched(
    database: Clone, late_by: int, full_scans: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_begins, "SCAN_SECONDS", 0.0)
    monkeypatch.setattr(queue_begins, "FULL_SCANS", full_scans)
    conn, late, oldest = database.connect(admin=True), database.connect(admin=True, autocommit=False), OldestJob()
    waiting(late, REMOTE, 1, LOUD)
    waiting(conn, REMOTE, late_by, uuid4())
    conn.execute("delete from procrastinate_jobs where id > 1 and id <= %s", [late_by])
    assert fetched(database, [CLOCK_QUEUE, REMOTE], 2, oldest) != [str(LOUD)], "nobody sees it yet"
    late.commit()
    assert str(LOUD) in fetched(database, [CLOCK_QUEUE, REMOTE], 2, oldest)


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
