"""Workers are woken after a commit, and however many commits there are, not more often than agreed."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from app.db import Database
from app.db.wake import Waker
from jobs.app import make_app
from jobs.queue import autocommit_pool, opened
from tests.fixtures.database import Clone

WAKES = 100
SECONDS = 0.2
EVERY = 0.05
# Idle for so long, a waker has said all that it will say.
SILENCE = EVERY * 4
# One that has said nothing after this long never will.
PATIENCE = 60.0


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


def test_a_connection_is_back_the_moment_its_transaction_has_ended(db: Database) -> None:
    for _ in range(WAKES):
        with db.connection() as connection:
            connection.execute("select")
        assert db._pool.get_stats()["pool_available"] >= 1
