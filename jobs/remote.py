"""The remote lane: one delivery per task, many at once, no transaction open during the call."""

from __future__ import annotations

import time

import structlog

from app import errors
from app.db import Tx
from app.model.actor import Actor, ActorType, Role
from app.services import deliveries
from app.services.deliveries import DeliveryKey
from jobs.handlers import HANDLERS, RemoteHandler
from jobs.run import PUTTING_OFF, Paused, Run, Superseded
from jobs.runtime import Runtime

log = structlog.get_logger()


def run_remote(runtime: Runtime, key: DeliveryKey, job_id: int) -> str:
    """Run one delivery to its mark and tell of it; returns how it ended: done, deferred, dead, failed or superseded."""
    began = time.monotonic()
    run, ended = _run(runtime, key, job_id)
    log.info("delivery", **key.params(), **run.ids, ended=ended, seconds=round(time.monotonic() - began, 6))
    return ended


def _run(runtime: Runtime, key: DeliveryKey, job_id: int) -> tuple[Run, str]:
    """Nothing is raised for what a handler does: a raised failure is counted here, in a transaction of its own."""
    handler = HANDLERS.get(key.handler)
    if not isinstance(handler, RemoteHandler):
        run = Run(runtime, key, job_id, actor_type=ActorType.WORKER)
        return run, _leave(runtime, run, "unknown_handler", longest=runtime.timing.unknown_recheck)
    run = Run(runtime, key, job_id, actor_type=handler.actor_type)
    try:
        handler.handle(run)
        assert run.ended is not None, f"{key.handler} ends its delivery as done, deferred or dead"
        # what it did may be an event for another handler, here or in another process
        runtime.waker.wake()
        return run, run.ended
    except Superseded:
        return run, "superseded"
    except Paused:
        return run, _leave(runtime, run, "paused")
    except errors.TooSlow as error:
        # others being in the way passes; a statement of ours that takes too long is a failure like any other
        return run, count_failure(runtime, key, job_id, error)
    except (errors.DatabaseDown, errors.Busy) as error:
        log.warning("a delivery waits", **key.params(), why=error.code)
        return run, _leave(runtime, run, error.code)
    except Exception as error:
        log.error("a delivery failed", **key.params(), exception=deliveries.describe(error).traceback)
        return run, count_failure(runtime, key, job_id, error)


def count_failure(runtime: Runtime, key: DeliveryKey, job_id: int, error: BaseException) -> str:
    """Count one raised failure; the third is a dead letter."""
    actor = Actor(ActorType.WORKER, key.handler, Role.WORKER, causation_id=key.event_id)

    def work(tx: Tx) -> str:
        row = tx.one("deliveries.failures_of", **key.params())
        before = row["failures"] if row else 0
        return deliveries.fail(tx, key, job_id, error, before, runtime.timing) or "superseded"

    status = runtime.database.transact(actor, work)
    return "failed" if status == "pending" else status


def _leave(runtime: Runtime, run: Run, why: str, *, longest: float | None = None) -> str:
    """Wait uncounted. What cannot be written now, because the database is away, the sweeper finds later."""
    seconds = runtime.timing.pause_recheck
    try:
        run.transact(
            lambda tx: run.defer(tx, seconds, why, capped=why != "paused", longest=longest), timeouts=PUTTING_OFF
        )
    except errors.DatabaseDown:
        return "database_down"
    return "deferred"
