"""Workers are woken after a commit, not more often than agreed, and ask no more than there is to tell."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from app.db import QUERIES, Database
from app.db.wake import Waker
from jobs.app import CLOCK_QUEUE, make_app
from jobs.oldest import OldestJob
from jobs.queue import LOCAL, REMOTE, FencedJobManager, autocommit_pool, opened
from tests.fixtures.database import Clone
from tests.fixtures.worker import Hand
from tests.jobs.backlog import LOUD, waiting
from tests.jobs.test_fetching import fetched, fetching

WAKES = 100
SECONDS = 0.2
EVERY = 0.05
# Idle for so long, a waker has said all that it will say.
SILENCE = EVERY * 4
# One that has said nothing after this long never will.
PATIENCE = 60.0
IDLE_EARS = (
    b"select from pg_stat_activity where datname = current_database() and state = 'idle' and query ilike 'listen%'"
)


def test_a_hundred_wishes_are_one_notification_per_interval(database: Clone, db: Database) -> None:
    listener = database.connect()
    listener.execute("listen procrastinate_any_queue_v1")
    waker, pace = Waker(db, every=EVERY), threading.Event()
    began = time.monotonic()
    for _ in range(WAKES):
        waker.wake()
        pace.wait(SECONDS / WAKES)
    took = time.monotonic() - began
    heard = [*listener.notifies(timeout=PATIENCE, stop_after=1), *listener.notifies(timeout=SILENCE)]
    waker.close()
    assert 1 <= len(heard) <= took / EVERY + 2
    assert {notification.payload for notification in heard} == {'{"type": "job_inserted", "job_id": 0}'}


def test_the_lanes_of_a_process_share_one_ear_and_one_outlives_the_other(database: Clone, db: Database) -> None:
    admin = database.connect(admin=True)
    ears = "select count(*) as n from pg_stat_activity where datname = current_database() and query ilike 'listen%%'"

    async def lane(connector: Any, heard: asyncio.Event) -> None:
        async def tell(**_: Any) -> None:
            heard.set()

        await connector.listen_notify(on_notification=tell, channels=[])

    async def wake(*lanes: asyncio.Event) -> None:
        for heard in lanes:
            while not heard.is_set():
                await asyncio.to_thread(Waker(db, every=EVERY).wake_once)

    async def two_lanes() -> None:
        application, first, second = make_app(), asyncio.Event(), asyncio.Event()
        async with opened(autocommit_pool(database.url, size=1)) as pool, application.open_async(pool):
            listening = [asyncio.create_task(lane(application.connector, heard)) for heard in (first, second)]
            await wake(first, second)
            assert admin.execute(ears).fetchone() == {"n": 1}
            listening[0].cancel()
            second.clear()
            await wake(second)
            listening[1].cancel()

    asyncio.run(asyncio.wait_for(two_lanes(), 20))


def test_after_the_last_job_nobody_asks_for_another_until_one_is_told_of(database: Clone) -> None:
    conn = database.connect(admin=True)

    async def fetch() -> list[bool]:
        async with fetching(database) as (manager, worker):
            found = []
            for is_told in (False, False, True):
                waiting(conn, LOCAL, 1, LOUD)
                manager.connector.heard += is_told
                found.append(await manager.fetch_job([LOCAL], worker) is not None)
            return [*found, await manager.fetch_job([LOCAL], worker) is not None]

    assert asyncio.run(fetch()) == [True, False, True, True], "the second, not told of, is found with the third"


def test_what_is_told_of_while_a_fetch_finds_nothing_is_fetched(
    database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn = database.connect(admin=True)
    run = FencedJobManager._run

    async def run_and_hear(manager: FencedJobManager, query: str, **params: object) -> list[dict[str, Any]]:
        rows = await run(manager, query, **params)
        if (
            query == "deliveries.fetch_job"
            and rows[0]["id"] is None
            and not conn.execute("select from procrastinate_jobs").rowcount
        ):
            waiting(conn, LOCAL, 1, LOUD)
            manager.connector.heard += 1
        return rows

    monkeypatch.setattr(FencedJobManager, "_run", run_and_hear)
    assert fetched(database, [LOCAL], 1, OldestJob()) == [str(LOUD)]


def test_a_job_of_the_remote_lane_is_told_of_by_whoever_looks_for_the_local_one(database: Clone) -> None:
    conn = database.connect(admin=True)

    async def tell() -> list[str]:
        told: list[str] = []
        async with fetching(database) as (manager, worker):
            lanes = {LOCAL: [LOCAL], REMOTE: [CLOCK_QUEUE, REMOTE]}
            listening = [asyncio.create_task(listen(manager, name, lanes[name], told)) for name in lanes]
            for queues in lanes.values():
                assert await manager.fetch_job(queues, worker) is None
            while not (await asyncio.to_thread(conn.execute, IDLE_EARS)).rowcount:
                pass
            waiting(conn, REMOTE, 1, LOUD)
            conn.execute(QUERIES["transactions.wake_workers"].encode())
            while not told:
                await asyncio.to_thread(conn.execute, b"select")
            assert await manager.fetch_job([LOCAL], worker) is None
            for task in listening:
                task.cancel()
        return told

    assert asyncio.run(asyncio.wait_for(tell(), PATIENCE)) == [LOCAL, REMOTE]


async def listen(manager: FencedJobManager, name: str, queues: list[str], told: list[str]) -> None:
    async def tell(**_: Any) -> None:
        told.append(name)

    await manager.listen_for_jobs(on_notification=tell, queues=queues)


def test_a_connection_is_back_the_moment_its_transaction_has_ended(db: Database) -> None:
    for _ in range(WAKES):
        with db.connection() as connection:
            connection.execute("select")
        assert db._pool.get_stats()["pool_available"] >= 1


def test_a_group_is_planned_once_for_all_and_reads_no_table_whole(hand: Hand) -> None:
    with hand.runtime.groups.connection() as connection:
        connection.execute("select %s::integer", [1])
        plans = connection.execute("select sum(custom_plans) = 0 as once from pg_prepared_statements").fetchone()
        table = connection.execute("show enable_seqscan").fetchone()
    assert plans == {"once": True} and table == {"enable_seqscan": "off"}
