"""What we change of Procrastinate, by its own extension points: fair fetch, fenced finish, a deaf ear for payloads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import Any

import psycopg
import psycopg_pool
from procrastinate import PsycopgConnector, exceptions, manager
from procrastinate import jobs as procrastinate_jobs
from psycopg.conninfo import make_conninfo

from app.config import PLATFORM_MERCHANT_ID
from app.db.pool import FRESH_SECONDS
from app.db.queries import QUERIES
from jobs.flight import Flight
from jobs.oldest import OldestJob
from jobs.turn import NOBODY

REMOTE, LOCAL = "remote", "local"
# One channel for every lane: a wake-up says that there may be work, never which.
CHANNEL = "procrastinate_any_queue_v1"
# What we tell Procrastinate, whatever was really sent: any role may send a NOTIFY, and a foreign payload ends a worker.
PAYLOAD = '{"type": "job_inserted", "job_id": 0}'
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
        self._flight = flight
        self._flying: set[int | None] = set()
        self._oldest = oldest
        # by queues: the merchant served last
        self._after: dict[tuple[str, ...], str] = {}

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> procrastinate_jobs.Job | None:
        assert queues is not None, "our workers name their queues"
        if REMOTE not in (names := tuple(queues)):
            return await self._fetch(names, worker_id)
        if not await self._flight.take():
            return None
        job = None
        try:
            job = await self._fetch(names, worker_id)
        finally:
            if job is None:
                self._flight.leave()
        if job is not None:
            self._flying.add(job.id)
        return job

    async def _fetch(self, queues: tuple[str, ...], worker_id: int) -> procrastinate_jobs.Job | None:
        await self._scan()
        rows = await self.connector.execute_query_all_async(
            query=QUERIES["deliveries.fetch_job"],
            queues=list(queues),
            after=self._after.get(queues, NOBODY),
            oldest=self._oldest.number,
            worker_id=worker_id,
        )
        if not rows:
            return None
        [row] = rows
        # a turn of the platform stands between those of merchants and moves none of them
        if (whose := row["args"].get("merchant_id")) not in (None, PLATFORM_MERCHANT_ID):
            self._after[queues] = whose
        self._oldest.fetched(row["id"])
        return procrastinate_jobs.Job.from_row(row)

    async def _scan(self) -> None:
        """See now and then where the queue begins."""
        since = self._oldest.scan_since()
        if since is None:
            return
        began = time.monotonic()
        rows = await self.connector.execute_query_all_async(query=QUERIES["deliveries.oldest_job"], since=since)
        self._oldest.scanned(since, rows[0]["id"] if rows else None, time.monotonic() - began)

    async def finish_job(
        self, job: procrastinate_jobs.Job, status: procrastinate_jobs.Status, delete_job: bool
    ) -> None:
        del status, delete_job
        try:
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
            except exceptions.ConnectorException:
                await asyncio.sleep(wait)
        await self._finish(job)

    async def _finish(self, job: procrastinate_jobs.Job) -> None:
        await self.connector.execute_query_async(
            query=QUERIES["deliveries.finish_job"],
            job_id=job.id,
            worker_id=job.worker_id,
        )


def worker_conninfo(url: str, options: str = WORKER_OPTIONS) -> str:
    """The connection string of Procrastinate's own connections."""
    return make_conninfo(url, options=options, application_name="postbox queue")


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
