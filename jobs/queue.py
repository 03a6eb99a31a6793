"""What we change of Procrastinate, by its own extension points: fair fetch, fenced finish, a deaf ear for payloads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import psycopg
import psycopg_pool
from procrastinate import PsycopgConnector, manager
from procrastinate import jobs as procrastinate_jobs
from psycopg.rows import dict_row

from app.config import PLATFORM_MERCHANT_ID
from app.db.network import bounded
from app.db.pool import FRESH_SECONDS
from app.db.queries import QUERIES, array
from jobs.flight import Flight
from jobs.held import Held
from jobs.oldest import OldestJob
from jobs.turn import NOBODY

Row = dict[str, Any]

REMOTE, LOCAL = "remote", "local"
# The lane that looks for all lanes of its process when something is heard: one question for them, and most are in vain.
LOOKOUT = (LOCAL,)
# One channel for every lane: a wake-up says that there may be work, never which.
CHANNEL = "procrastinate_any_queue_v1"
# What we tell Procrastinate, whatever was really sent: any role may send a NOTIFY, and a foreign payload ends a worker.
NEWS = procrastinate_jobs.JobInserted(type="job_inserted", job_id=0)
PAYLOAD = json.dumps(NEWS)
# Everything Procrastinate does runs as this role; set at connection start, so that it survives pooling.
WORKER_OPTIONS = "-c search_path=procrastinate,postbox -c role=postbox_worker -c timezone=UTC"
# Which worker holds a job, and that one is done, waits for no disk: what follows from it is committed after it in the
# same log, and a crash that loses it leaves a job to be fetched again, or one in the hands of a worker that is gone.
QUEUE_OPTIONS = f"{WORKER_OPTIONS} -c synchronous_commit=off"
# A job that could not be finished stays in the hands of a worker that lives, where nobody looks for it. An outage
# longer than this ends the worker, and its jobs are found by its silence.
FINISH_WAITS = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)


# A database that is away is tried again by the worker's own loop, which a signal can end.
OPEN_SECONDS = 5.0
# A worker that gets no connection for so long starts anew. One that ends waits twice in a row, for its last fetch and
# to sign off, and then for its sweepers: all of it has to fit into the time in which it must be gone.
WAIT_SECONDS = 4.0


class DeafConnector(PsycopgConnector):
    """A connector that listens for the fact of a notification and never reads it, with one ear for all workers here."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # how often anything was heard
        self.heard = 0
        self._told: list[Any] = []
        self._ear = asyncio.Lock()

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        self._told.append(on_notification)
        try:
            # the others wait here: another listens when who did is gone
            async with self._ear:
                await self._listen()
        finally:
            self._told.remove(on_notification)

    async def _listen(self) -> None:
        while True:
            async with self._get_standalone_connection() as connection:
                await connection.execute(f"listen {CHANNEL}")
                async for _ in connection.notifies():
                    self.heard += 1
                    for tell in self._told:
                        await tell(channel=CHANNEL, payload=PAYLOAD)
            # the connection ended: listen on a new one, and do not spin while the database is away
            await asyncio.sleep(1)


class FencedJobManager(manager.JobManager):
    """A job is finished only by the worker that holds it: a zombie's finish matches nothing, which is normal.

    Finished jobs are deleted, failed ones too: the delivery is the truth, and a delivery whose job is gone is found.
    Merchants take turns, so that nobody waits behind another's backlog; each queue is read by an index of its own.
    A job of the remote lane is fetched only into a free slot of this process's flight.
    """

    def __init__(self, connector: Any, flight: Flight, oldest: OldestJob) -> None:
        super().__init__(connector)
        self._ear: DeafConnector = connector
        self._flight = flight
        self._flying: set[int | None] = set()
        self._oldest = oldest
        self._held: dict[int, Held] = {}
        # by queues: the merchant served last, and how much had been heard when the last job was taken that there was
        self._after: dict[tuple[str, ...], str] = {}
        self._emptied: dict[tuple[str, ...], int] = {}
        # lanes that wait to be told of something
        self._waiting: set[tuple[str, ...]] = set()
        self._tell: dict[tuple[str, ...], Callable[[], Awaitable[None]]] = {}

    def held(self, job_id: int) -> Held:
        """A job that was fetched here and is not finished."""
        return self._held[job_id]

    async def listen_for_jobs(
        self, *, on_notification: manager.NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        assert queues is not None, "our workers name their queues"
        lane = tuple(queues)

        async def tell() -> None:
            await on_notification(channel=CHANNEL, notification=NEWS)

        async def hear(channel: str, payload: str) -> None:
            # while it waits it is told as well, and looks for us
            if lane == LOOKOUT or LOOKOUT not in self._waiting:
                await tell()

        self._tell[lane] = tell
        await self._ear.listen_notify(on_notification=hear, channels=[CHANNEL])

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> procrastinate_jobs.Job | None:
        assert queues is not None, "our workers name their queues"
        lane = tuple(queues)
        self._waiting.discard(lane)
        job = None
        # as after every job it is asked again at once: that one was the last, unless somebody has told of another
        if self._emptied.pop(lane, None) != self._ear.heard:
            job = await (self._fetch_to_fly(lane, worker_id) if REMOTE in lane else self._fetch(lane, worker_id))
        if job is None:
            self._waiting.add(lane)
        return job

    async def _fetch_to_fly(self, queues: tuple[str, ...], worker_id: int) -> procrastinate_jobs.Job | None:
        if not await self._flight.take():
            return None
        job = None
        try:
            job = await self._fetch(queues, worker_id)
        finally:
            if job is None:
                self._flight.leave()
        if job is not None:
            self._flying.add(job.id)
        return job

    async def _fetch(self, queues: tuple[str, ...], worker_id: int) -> procrastinate_jobs.Job | None:
        await self._scan()
        while True:
            heard = self._ear.heard
            job, is_last = await self._ask(queues, worker_id)
            if job is not None:
                break
            # Procrastinate forgets what it hears while it fetches
            if heard == self._ear.heard:
                return None
        if is_last:
            self._emptied[queues] = heard
        assert job.id is not None, "a job that was fetched has an id"
        self._oldest.fetched(job.id)
        self._held[job.id] = Held(job.id, worker_id)
        return job

    async def _ask(self, queues: tuple[str, ...], worker_id: int) -> tuple[procrastinate_jobs.Job | None, bool]:
        """The next job, and whether it is the last that waits."""
        [row] = await self._run(
            "deliveries.fetch_job",
            queues=array(queues),
            others=array(queue for lane in self._waiting for queue in lane if queues == LOOKOUT),
            after=self._after.get(queues, NOBODY),
            oldest=self._oldest.number,
            worker_id=worker_id,
        )
        if row["others"]:
            for lane in list(self._waiting):
                await self._tell[lane]()
        if row["id"] is None:
            return None, False
        # a turn of the platform stands between those of merchants and moves none of them
        if (whose := row["args"].get("merchant_id")) not in (None, PLATFORM_MERCHANT_ID):
            self._after[queues] = whose
        job = procrastinate_jobs.Job(
            id=row["id"],
            queue=row["queue_name"],
            lock=None,
            queueing_lock=None,
            task_name=row["task_name"],
            task_kwargs=row["args"],
            attempts=row["attempts"],
            worker_id=worker_id,
        )
        return job, not row["more"]

    async def _run(self, query: str, **params: object) -> list[Row]:
        """Not by the connector: what it prepares for each query costs as much as the query."""
        async with self._ear.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(QUERIES[query].encode(), params)
            return await cursor.fetchall() if cursor.description else []

    async def _scan(self) -> None:
        """See now and then where the queue begins."""
        since = self._oldest.scan_since()
        if since is None:
            return
        began = time.monotonic()
        rows = await self._run("deliveries.oldest_job", since=since)
        self._oldest.scanned(since, rows[0]["id"] if rows else None, time.monotonic() - began)

    async def finish_job(
        self, job: procrastinate_jobs.Job, status: procrastinate_jobs.Status, delete_job: bool
    ) -> None:
        del status, delete_job
        try:
            assert job.id is not None, "a job that runs has an id"
            if not self._held.pop(job.id).ended:
                await self._finish_in_time(job)
        finally:
            if job.id in self._flying:
                self._flying.discard(job.id)
                self._flight.leave()

    async def _finish_in_time(self, job: procrastinate_jobs.Job) -> None:
        for wait in FINISH_WAITS:
            try:
                await self._finish(job)
                return
            except (psycopg.Error, psycopg_pool.PoolTimeout):
                await asyncio.sleep(wait)
        await self._finish(job)

    async def _finish(self, job: procrastinate_jobs.Job) -> None:
        await self._run("deliveries.finish_job", job_id=job.id, worker_id=job.worker_id)


def worker_conninfo(url: str, options: str = WORKER_OPTIONS) -> str:
    """The connection string of Procrastinate's own connections."""
    return bounded(url, options=options, application_name="postbox queue")


class _Connection(psycopg.AsyncConnection[Any]):
    """A connection that knows when it was last asked whether it still answers."""

    asked_at = float("-inf")


def autocommit_pool(url: str, *, size: int) -> psycopg_pool.AsyncConnectionPool[_Connection]:
    """Fetch and finish are single statements: autocommit saves two round trips each."""

    async def configure(connection: _Connection) -> None:
        await connection.set_autocommit(True)

    async def check(connection: _Connection) -> None:
        if connection.asked_at < time.monotonic() - FRESH_SECONDS:
            await psycopg_pool.AsyncConnectionPool.check_connection(connection)
            connection.asked_at = time.monotonic()

    return psycopg_pool.AsyncConnectionPool(
        worker_conninfo(url, QUEUE_OPTIONS),
        min_size=1,
        max_size=size,
        open=False,
        timeout=WAIT_SECONDS,
        connection_class=_Connection,
        configure=configure,
        check=check,
        name="postbox queue",
    )


@contextlib.asynccontextmanager
async def opened(pool: psycopg_pool.AsyncConnectionPool[Any]) -> Any:
    """The pool, open until the block ends."""
    await pool.open(wait=True, timeout=OPEN_SECONDS)
    try:
        yield pool
    finally:
        await pool.close()
