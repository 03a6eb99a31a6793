"""`postbox worker`: Procrastinate's own worker over both lanes, our sweeper beside it; drains on SIGTERM."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import random
import signal
import threading
import time
from typing import Any

import structlog

from app.config import Settings, Timing
from app.db.durability import refuse_unsafe
from app.errors import UnsafeDatabase
from jobs import app as jobs_app
from jobs.queue import LOCAL, REMOTE, FencedJobManager, autocommit_pool, opened
from jobs.runtime import LOCAL_GROUPS, Runtime
from jobs.sweeper import Sweeper, comparing_passes, moving_passes

log = structlog.get_logger()

# SIGTERM to exit: a provider call in flight may take its whole read timeout (20 s), the supervisor kills at 25 s.
DRAIN_SECONDS = 22.0
# Threads cannot be told to end, and with the database away they wait for it: from here on what is left is rescued.
LEAVE_SECONDS = 24.0
# A worker that lost its database comes back after this long, growing; it is stateless, so nothing is lost by waiting.
RESTART_FIRST = 0.5
RESTART_LONGEST = 15.0
QUEUE_CONNECTIONS = 4
# From a connection that was refused to the last fetch: a job that is fetched meanwhile is lost to the sweep.
UNSAFE_SECONDS = 0.05
# With carrying off, local deliveries at once: each is a transaction that keeps a backend of the database busy.
SINGLES = 8


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; a lost database is waited for, with backoff."""
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    runtime = jobs_app.runtime()
    sweepers = [
        Sweeper(runtime, moving_passes(runtime), name="sweeper"),
        Sweeper(runtime, comparing_passes(runtime), name="comparer"),
    ]
    for sweeper in sweepers:
        sweeper.start()
    try:
        asyncio.run(_work_until_stopped(settings, runtime))
    finally:
        for sweeper in sweepers:
            sweeper.stop()
        runtime.close()


async def _work_until_stopped(settings: Settings, runtime: Runtime) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(
        concurrent.futures.ThreadPoolExecutor(sum(_lanes(settings).values()), thread_name_prefix="job")
    )
    stopping = asyncio.Event()

    def stop() -> None:
        runtime.draining.set()
        stopping.set()
        _leave_in_time()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    wait = RESTART_FIRST
    while not stopping.is_set():
        began = time.monotonic()
        try:
            await _work(settings, runtime, stopping)
        except UnsafeDatabase:
            raise
        except Exception as error:
            log.warning("the worker lost its queue and starts again", error=type(error).__name__)
        if stopping.is_set():
            return
        wait = RESTART_FIRST if time.monotonic() - began > RESTART_LONGEST else min(wait * 2, RESTART_LONGEST)
        await _either(stopping.wait(), asyncio.sleep(wait * random.uniform(0.8, 1.2)))


def _leave_in_time() -> None:
    """End this process at the deadline, whatever its threads wait for; nothing that was recorded hangs on them."""

    def leave() -> None:
        log.error("the worker did not drain in time and ends; its open deliveries are rescued", seconds=LEAVE_SECONDS)
        os._exit(1)

    timer = threading.Timer(LEAVE_SECONDS, leave)
    timer.daemon = True
    timer.start()


async def _work(settings: Settings, runtime: Runtime, stopping: asyncio.Event) -> None:
    """One life of Procrastinate's workers, until a signal stops them, one fails, or the database may forget.

    Raises UnsafeDatabase when the last is so, once what was on its way has ended.
    """
    # A database that was away when we started shows only now what it is.
    await asyncio.to_thread(refuse_unsafe, settings)
    runtime.unsafe.clear()
    if not stopping.is_set():
        runtime.draining.clear()
    application = jobs_app.make_app()
    runtime.flight.open()
    application.job_manager = FencedJobManager(application.connector, runtime.flight, runtime.oldest)
    async with (
        opened(autocommit_pool(settings.database_url, size=QUEUE_CONNECTIONS)) as pool,
        application.open_async(pool),
    ):
        workers = [
            _lane_worker(application, runtime.timing, queues, concurrency)
            for queues, concurrency in _lanes(settings).items()
        ]
        running = [asyncio.ensure_future(worker.run()) for worker in workers]
        stops = [asyncio.ensure_future(wait) for wait in (_stopped(stopping), _met_unsafe(runtime))]
        await asyncio.wait({*running, *stops}, return_when=asyncio.FIRST_COMPLETED)
        for stop in stops:
            stop.cancel()
        runtime.flight.close()
        for worker in workers:
            worker.stop()
        await asyncio.gather(*running)
    if runtime.unsafe.is_set():
        # said in one line, unless it was mended meanwhile: then the next life begins
        await asyncio.to_thread(refuse_unsafe, settings)


async def _stopped(stopping: asyncio.Event) -> None:
    await stopping.wait()


async def _met_unsafe(runtime: Runtime) -> None:
    """Until somebody here was refused a connection; Procrastinate's own pool inspects nothing and would fetch on."""
    while not runtime.unsafe.is_set():
        await asyncio.sleep(UNSAFE_SECONDS)
    runtime.draining.set()


def _lanes(settings: Settings) -> dict[tuple[str, ...], int]:
    """A worker for each lane, with jobs at once of its own: a backlog in one never fills the hands of the other."""
    one_by_one = min(settings.worker_concurrency, SINGLES)
    return {
        (jobs_app.CLOCK_QUEUE, REMOTE): settings.worker_concurrency,
        (LOCAL,): LOCAL_GROUPS if settings.carrying else one_by_one,
    }


def _lane_worker(application: Any, timing: Timing, queues: tuple[str, ...], concurrency: int) -> Any:
    return application._worker(
        queues=list(queues),
        name="postbox",
        concurrency=concurrency,
        fetch_job_polling_interval=timing.poll * random.uniform(0.8, 1.2),
        abort_job_polling_interval=3_600.0,
        shutdown_graceful_timeout=DRAIN_SECONDS,
        delete_jobs="always",
        install_signal_handlers=False,
        update_heartbeat_interval=timing.worker_heartbeat,
        stalled_worker_timeout=timing.worker_stalled,
    )


async def _either(*waits: object) -> None:
    tasks = {asyncio.ensure_future(wait) for wait in waits}  # type: ignore[call-overload]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
