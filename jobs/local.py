"""The local lane: a task runs its own delivery and carries siblings, all in one transaction.

No savepoints: on any error, the COMMIT's included, the group is rolled back and rerun in halves down to one, and only a
delivery that fails alone counts a failure.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import psycopg
import structlog

from app import errors
from app.db import Tx
from app.db.errors import CONFLICT, domain_error
from app.db.pool import Opening, Row, Timeouts
from app.db.queries import array
from app.model.actor import Actor, ActorType, Role
from app.services import deliveries
from app.services.deliveries import DeliveryKey, describe
from jobs.group import Group, params_of, run_group
from jobs.handlers import HANDLERS, LocalHandler
from jobs.held import Held
from jobs.remote import count_failure
from jobs.run import PUTTING_OFF
from jobs.runtime import Runtime
from jobs.turn import GROUP_SECONDS, SERVING_GROUP_SECONDS, Turn

log = structlog.get_logger()

LANE = Actor(ActorType.WORKER, "local", Role.WORKER)
# A handler of this lane only touches the database; one that takes longer than this is broken.
STATEMENT_MS = 2_000
# Of that, what it may wait for a lock, which is no failure. What the clock of the statement cuts off is one, and that
# clock starts first.
LOCK_SHARE = 0.5
# lock_timeout ran out.
LOCK_NOT_AVAILABLE = "55P03"
# A group that has waited in vain is run again in halves, and what is held is held for most of them: each waits so long,
# and after so many seconds none is begun but the first half of one that failed. So each rerun finds one at least that
# stands in the way, and puts it off; the others keep their jobs.
HALF_LOCK_MS = 50
HALVES_SECONDS = 1.0


def run_local(runtime: Runtime, key: DeliveryKey, job_id: int, turn: Turn, held: Held | None = None) -> int:
    """Run the delivery of this job and as many siblings as fit its time; returns how many deliveries are done.

    Nothing is raised for what a handler does. A delivery that could not be locked is left to whoever holds it. Where
    the job is `held` it ends with its delivery, and is told so.
    """
    if not isinstance(HANDLERS.get(key.handler), LocalHandler):
        timing = runtime.timing
        _defer_own(
            runtime, key, job_id, "unknown_handler", seconds=timing.pause_recheck, longest=timing.unknown_recheck
        )
        return 0
    picked: list[Row] = []
    try:
        with runtime.courtesy.turn() if runtime.settings.carrying else nullcontext():
            try:
                return _run_and_rest(runtime, key, job_id, turn, picked, held, carries=runtime.settings.carrying)
            except psycopg.errors.QueryCanceled:
                if picked:
                    raise
                # to look for siblings took too long: no failure of what has not run, which goes on without them
                return _run_and_rest(runtime, key, job_id, turn, picked, held, carries=False)
            except psycopg.errors.FeatureNotSupported:
                # a table has changed since this session prepared for it, and nobody has failed; every session forgets
                picked.clear()
                return _run_and_rest(runtime, key, job_id, turn, picked, held, carries=runtime.settings.carrying)
    except Exception as error:
        if not picked and _is_conflict(error):
            # it waited for whoever has its delivery
            _defer_own(runtime, key, job_id, "conflict", seconds=runtime.timing.pause_recheck)
            return 0
        if not picked:
            raise
        done = Halves(runtime, turn).rerun(picked, error)
        # a half may have left our delivery; one that was done, has failed or waits already names another job or none
        if runtime.draining.is_set():
            _defer_own(runtime, key, job_id, "draining", seconds=0.0, capped=False)
        else:
            _defer_own(runtime, key, job_id, "payment_locked", seconds=runtime.timing.sweep_promote)
        return done


def _run_and_rest(
    runtime: Runtime, key: DeliveryKey, job_id: int, turn: Turn, picked: list[Row], held: Held | None, *, carries: bool
) -> int:
    size = turn.size(_group_seconds(runtime)) if carries else 0
    start = {
        "whose": key.merchant_id,
        "event_id": key.event_id,
        "handler": key.handler,
        "job_id": job_id,
        "after": turn.after,
        "oldest": runtime.oldest.number,
        "limit": size,
        "handlers": array(_local_handlers()),
    }
    with _begin_in_turn(runtime, Opening("deliveries.start_group", start)) as (tx, found, began):
        group = _first_group(tx, runtime, found, turn, picked, held, carries=carries)
    took = time.monotonic() - began
    if held is not None and any(row["job_id"] == job_id for row in group.done):
        held.ended = True
    # one that is not full has left nothing behind, and whoever comes next waits for no rest
    runtime.courtesy.is_behind = group.is_full
    rested = runtime.courtesy.rest(took, runtime.draining) if group.is_full else 0.0
    log.info(
        "group",
        deliveries=len(group.done),
        left=len(group.left),
        seconds=round(took, 6),
        rested=round(rested, 6),
    )
    return len(group.done)


@contextmanager
def _begin_in_turn(runtime: Runtime, start: Opening) -> Iterator[tuple[Tx, list[Row], float]]:
    """The transaction of a group, what it starts with, and since when: with one of the slots that all workers share,
    or without where none came free.
    """
    courtesy = runtime.courtesy
    for is_last in courtesy.tries(runtime.draining):
        at_once = is_last or not courtesy.needs_slot()
        began, opening = time.monotonic(), start if at_once else None
        with runtime.groups.begin(LANE, timeouts=_timeouts(runtime), opening=opening) as tx:
            if at_once or courtesy.take_slot(tx):
                yield tx, tx.opened if at_once else tx.all(start.query, **start.params), began
                return


def _first_group(
    tx: Tx, runtime: Runtime, found: list[Row], turn: Turn, picked: list[Row], held: Held | None, *, carries: bool
) -> Group:
    if not found:
        return Group()
    own, *siblings = found
    runtime.courtesy.sampled(int(own["served"]), time.monotonic())
    seconds = _group_seconds(runtime)
    if own["paused"]:
        recheck = runtime.timing.pause_recheck
        deliveries.defer(
            tx, _key(own), own["job_id"], seconds=recheck, why="paused", timing=runtime.timing, capped=False
        )
        if carries:
            # what waits behind it for the same person leaves the way of everybody else
            deliveries.put_off_paused(tx, _key(own).merchant_id, runtime.oldest.number, runtime.timing)
        return Group()
    picked += [own, *siblings[: turn.size(seconds) - 1]]
    turn.move(picked)
    group = run_group(tx, runtime, picked, turn, seconds, held)
    group.is_full = _is_full(siblings)
    if own in group.left:
        # our own job ends with this task, so our delivery needs another
        tx.act_as(LANE)
        promote = runtime.timing.sweep_promote
        deliveries.defer(tx, _key(own), own["job_id"], seconds=promote, why="payment_locked", timing=runtime.timing)
    return group


def _group_seconds(runtime: Runtime) -> float:
    return SERVING_GROUP_SECONDS if runtime.courtesy.is_due(time.monotonic()) else GROUP_SECONDS


def _is_full(siblings: list[Row]) -> bool:
    """Whether a merchant had as many as one may have in this group: there may be more of his."""
    of_each = Counter(row["merchant_id"] for row in siblings)
    return any(of_each[row["merchant_id"]] >= row["share"] for row in siblings)


@dataclass
class Halves:
    """One group that is run again in halves until what fails stands alone, and until when, once it met a conflict."""

    runtime: Runtime
    turn: Turn
    until: float = float("inf")

    def rerun(self, group: list[Row], error: Exception) -> int:
        """The group failed as a whole; returns how many of it are done."""
        runtime = self.runtime
        if _is_outage(error):
            raise error
        is_conflict = _is_conflict(error)
        if is_conflict:
            self.until = min(self.until, time.monotonic() + HALVES_SECONDS)
        if len(group) > 1:
            middle = len(group) // 2
            done = self.run(group[:middle])
            return done if time.monotonic() > self.until else done + self.run(group[middle:])
        key, job_id = _key(group[0]), group[0]["job_id"]
        if is_conflict:
            _defer_own(runtime, key, job_id, "conflict", seconds=runtime.timing.pause_recheck)
        else:
            log.warning("a delivery failed", **key.params(), exception=describe(error).traceback)
            count_failure(runtime, key, job_id, error)
        return 0

    def run(self, half: list[Row]) -> int:
        """Run these, and again in halves where they fail; a worker that ends leaves them."""
        runtime = self.runtime
        if runtime.draining.is_set():
            return 0
        timeouts, again = _timeouts(runtime), Opening("deliveries.lock_again", params_of(half))
        if self.until < float("inf"):
            timeouts = replace(timeouts, lock=min(timeouts.lock, HALF_LOCK_MS))
        try:
            with runtime.groups.begin(LANE, timeouts=timeouts, opening=again) as tx:
                return (
                    len(run_group(tx, runtime, tx.opened, self.turn, _group_seconds(runtime)).done) if tx.opened else 0
                )
        except Exception as error:
            return self.rerun(half, error)


def _defer_own(
    runtime: Runtime,
    key: DeliveryKey,
    job_id: int,
    why: str,
    *,
    seconds: float,
    capped: bool = True,
    longest: float | None = None,
) -> None:
    timing = runtime.timing
    runtime.database.transact(
        LANE,
        lambda tx: deliveries.defer(
            tx, key, job_id, seconds=seconds, why=why, timing=timing, capped=capped, longest=longest
        ),
        timeouts=PUTTING_OFF,
    )


def _is_outage(error: Exception) -> bool:
    found = domain_error(error) if isinstance(error, psycopg.Error) else error
    return isinstance(found, errors.DatabaseDown)


def _is_conflict(error: Exception) -> bool:
    """Two transactions in each other's way: nobody's failure, in either lane. `Busy` is how an opening says so."""
    if isinstance(error, psycopg.Error):
        return error.sqlstate in CONFLICT or error.sqlstate == LOCK_NOT_AVAILABLE
    return type(error) is errors.Busy


def _key(row: Row) -> DeliveryKey:
    return DeliveryKey(str(row["merchant_id"]), str(row["event_id"]), row["handler"])


def _timeouts(runtime: Runtime) -> Timeouts:
    usual = runtime.database.timeouts
    lock = min(usual.lock, int(STATEMENT_MS * LOCK_SHARE))
    return Timeouts(statement=STATEMENT_MS, lock=lock, idle=usual.idle)


def _local_handlers() -> list[str]:
    return [name for name, handler in HANDLERS.items() if isinstance(handler, LocalHandler)]
