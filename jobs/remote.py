"""The remote lane: one delivery per task, many at once, no transaction open during the call."""

from __future__ import annotations

import logging

from app import errors
from app.db import Tx
from app.model.actor import Actor, ActorType, Role
from app.services import deliveries
from app.services.deliveries import DeliveryKey
from jobs.handlers import HANDLERS, RemoteHandler
from jobs.run import Paused, Run, Superseded
from jobs.runtime import Runtime

logger = logging.getLogger(__name__)


def run_remote(runtime: Runtime, key: DeliveryKey, job_id: int) -> str:
    """Run one delivery to its mark; returns how it ended: done, deferred, dead, failed or superseded.

    Nothing is raised for what a handler does: a raised failure is counted here, in a transaction of its own.
    """
    handler = HANDLERS.get(key.handler)
    if not isinstance(handler, RemoteHandler):
        run = Run(runtime, key, job_id, actor_type=ActorType.WORKER)
        return _leave(runtime, run, "unknown_handler", longest=runtime.timing.unknown_recheck)
    run = Run(runtime, key, job_id, actor_type=handler.actor_type)
    try:
        handler.handle(run)
        assert run.ended is not None, f"{key.handler} ends its delivery as done, deferred or dead"
        # what it did may be an event for another handler, here or in another process
        runtime.waker.wake()
        return run.ended
    except Superseded:
        return "superseded"
    except Paused:
        return _leave(runtime, run, "paused")
    except errors.TooSlow as error:
        # others being in the way passes; a statement of ours that takes too long is a failure like any other
        return count_failure(runtime, key, job_id, error)
    except (errors.DatabaseDown, errors.Busy) as error:
        logger.warning("delivery %s of %s waits: %s", key.event_id, key.handler, error.code)
        return _leave(runtime, run, error.code)
    except Exception as error:
        told = deliveries.describe(error).traceback
        logger.error("delivery %s of %s failed: %s", key.event_id, key.handler, told)
        return count_failure(runtime, key, job_id, error)


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
        run.transact(lambda tx: run.defer(tx, seconds, why, capped=why != "paused", longest=longest))
    except errors.DatabaseDown:
        return "database_down"
    return "deferred"
