"""The Procrastinate app: one task per lane and one periodic tick; `procrastinate --app=jobs.app.app worker` runs it."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

from procrastinate import App, JobContext

from app.config import load_settings, secret
from app.services.deliveries import DeliveryKey
from jobs.local import run_local
from jobs.queue import LOCAL, REMOTE, DeafConnector, FencedJobManager, worker_conninfo
from jobs.remote import run_remote
from jobs.runtime import LOCAL_GROUPS, Runtime, open_runtime
from jobs.turn import Turn

LANES = (REMOTE, LOCAL)
CLOCK_QUEUE = "clock"
QUEUES = (*LANES, CLOCK_QUEUE)
# As often as the sweeps of our own worker look at the clock; the sixth field is seconds.
EVERY_FIVE_SECONDS = "* * * * * */5"

_local_slots = threading.BoundedSemaphore(LOCAL_GROUPS)
_turn = Turn()


@lru_cache(maxsize=1)
def runtime() -> Runtime:
    """This process's runtime, opened by the first job."""
    return open_runtime(load_settings())


def make_app() -> App:
    """The app with its tasks; connects to DATABASE_URL when it is opened."""
    url = secret(os.environ, "DATABASE_URL")
    application = App(
        connector=DeafConnector(conninfo=worker_conninfo(url)) if url else DeafConnector(),
        # whoever works: a job that is over is no evidence, and Procrastinate would keep it for ever
        worker_defaults={"delete_jobs": "always"},
    )

    @application.task(name="postbox.remote", queue="remote", pass_context=True)
    def remote(context: JobContext, merchant_id: str, event_id: str, handler: str) -> None:
        assert context.job.id is not None, "a job that runs has an id"
        run_remote(runtime(), DeliveryKey(merchant_id, event_id, handler), context.job.id)

    @application.task(name="postbox.local", queue="local", pass_context=True)
    def local(context: JobContext, merchant_id: str, event_id: str, handler: str) -> None:
        assert context.job.id is not None, "a job that runs has an id"
        jobs = context.app.job_manager
        held = jobs.held(context.job.id) if isinstance(jobs, FencedJobManager) else None
        # with carrying off there are no groups, and one delivery waits for nobody
        with _local_slots if runtime().settings.carrying else nullcontext():
            run_local(runtime(), DeliveryKey(merchant_id, event_id, handler), context.job.id, _turn, held)

    # One periodic task keeps Procrastinate's side tasks alive, and a worker that is not ours converges by it.
    @application.periodic(cron=EVERY_FIVE_SECONDS)
    @application.task(name="postbox.tick", queue=CLOCK_QUEUE)
    def tick(timestamp: int) -> None:
        from jobs.provider_runs import compare_ledger_once, compare_night_once, request_runs_once
        from jobs.sweep import sweep_once

        sweep_once(runtime())
        request_runs_once(runtime())
        compare_night_once(runtime())
        compare_ledger_once(runtime())

    return application


app: Any = make_app()
