"""The local lane: a task runs its own delivery and carries siblings, all in one transaction.

No savepoints: on any error, the COMMIT's included, the group is rolled back and rerun in halves down to one, and only a
delivery that fails alone counts a failure.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import psycopg
import structlog

from app import errors
from app.db import Tx
from app.db.errors import RERUN, domain_error
from app.db.pool import Opening, Timeouts
from app.db.queries import array
from app.model.actor import Actor, ActorType, Role
from app.services import deliveries
from app.services.deliveries import DeliveryKey, describe
from jobs.handlers import HANDLERS, LocalHandler
from jobs.held import Held
from jobs.remote import count_failure
from jobs.run import PUTTING_OFF
from jobs.runtime import Runtime
from jobs.turn import GROUP_LEAST, GROUP_PATIENCE, GROUP_SECONDS, SERVING_GROUP_SECONDS, Turn

log = structlog.get_logger()

# The clock is read this often, so the last stretch may overrun by as much work.
SYNC_EVERY = 10
# A handler of this lane only touches the database; one that takes longer than this is broken.
STATEMENT_MS = 2_000
# Of that, what it may wait for a lock, which is no failure. What the clock of the statement cuts off is one, and that
# clock starts first.
LOCK_SHARE = 0.5
# lock_timeout ran out.
LOCK_NOT_AVAILABLE = "55P03"

Row = dict[str, Any]


@dataclass
class Group:
    """What one transaction did: deliveries run, and those left for another; `is_full` if more may wait than it took."""

    done: list[Row] = field(default_factory=list)
    left: list[Row] = field(default_factory=list)
    is_full: bool = False


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
    except Exception as error:
        if not picked and _is_conflict(error):
            # it waited for whoever has its delivery
            _defer_own(runtime, key, job_id, "conflict", seconds=runtime.timing.pause_recheck)
            return 0
        if not picked:
            raise
        done = _rerun(runtime, picked, error, turn)
        # a half may have left our delivery; one that was done, has failed or waits already names another job or none
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
        with runtime.groups.begin(_actor("local"), timeouts=_timeouts(runtime), opening=opening) as tx:
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
    group = _run_group(tx, runtime, picked, turn, seconds, held)
    group.is_full = _is_full(siblings)
    if own in group.left:
        # our own job ends with this task, so our delivery needs another
        tx.act_as(_actor("local"))
        promote = runtime.timing.sweep_promote
        deliveries.defer(tx, _key(own), own["job_id"], seconds=promote, why="payment_locked", timing=runtime.timing)
    return group


def _group_seconds(runtime: Runtime) -> float:
    return SERVING_GROUP_SECONDS if runtime.courtesy.is_due(time.monotonic()) else GROUP_SECONDS


def _is_full(siblings: list[Row]) -> bool:
    """Whether a merchant had as many as one may have in this group: there may be more of his."""
    of_each = Counter(row["merchant_id"] for row in siblings)
    return any(of_each[row["merchant_id"]] >= row["share"] for row in siblings)


def _rerun(runtime: Runtime, group: list[Row], error: Exception, turn: Turn) -> int:
    """The group failed as a whole: halve it until what fails stands alone."""
    if _is_outage(error):
        raise error
    if len(group) == 1 and _is_conflict(error):
        _defer_own(runtime, _key(group[0]), group[0]["job_id"], "conflict", seconds=runtime.timing.pause_recheck)
        return 0
    if len(group) == 1:
        log.warning("a delivery failed", **_key(group[0]).params(), exception=describe(error).traceback)
        count_failure(runtime, _key(group[0]), group[0]["job_id"], error)
        return 0
    middle = len(group) // 2
    return sum(_run_half(runtime, half, turn) for half in (group[:middle], group[middle:]))


def _run_half(runtime: Runtime, half: list[Row], turn: Turn) -> int:
    try:
        again = Opening("deliveries.lock_again", _arrays(half))
        with runtime.groups.begin(_actor("local"), timeouts=_timeouts(runtime), opening=again) as tx:
            return len(_run_group(tx, runtime, tx.opened, turn, _group_seconds(runtime)).done) if tx.opened else 0
    except Exception as error:
        return _rerun(runtime, half, error, turn)


def _run_group(
    tx: Tx, runtime: Runtime, group: list[Row], turn: Turn, seconds: float, held: Held | None = None
) -> Group:
    """Run, mark: what is not free or finds the time over is left to another group."""
    free = [row for row in group if row["free"]]
    result, work, deadline = Group(), 0.0, time.monotonic() + GROUP_PATIENCE
    least = free[:GROUP_LEAST]
    for rows in _batches(free):
        while rows and (fits := _how_many_fit(rows, least, seconds - work, turn.pace(rows[0]["handler"]), deadline)):
            began = time.monotonic()
            ran = _run_batch(tx, runtime, rows[:fits], deadline)
            work += ran * turn.keep_pace(rows[0]["handler"], ran, time.monotonic() - began)
            result.done += rows[:ran]
            rows = rows[ran:]
    if len(result.done) > 1:
        turn.learn(len(result.done), work)
    done = {row["job_id"] for row in result.done}
    result.left = [row for row in group if row["job_id"] not in done]
    _mark(tx, result.done, held)
    return result


def _batches(rows: list[Row]) -> list[list[Row]]:
    """What one call can run: the same handler and no payment twice, or everything that Python runs by itself."""
    batches: dict[tuple[str, int], list[Row]] = {}
    times: Counter[tuple[object, ...]] = Counter()
    for row in rows:
        name = row["handler"] if _handler(row).in_database else ""
        about = (name, row["merchant_id"], row["payment_id"] or row["event_id"])
        batches.setdefault((name, times[about] if name else 0), []).append(row)
        times[about] += 1
    return list(batches.values())


def _how_many_fit(rows: list[Row], least: list[Row], left: float, pace: float | None, deadline: float) -> int:
    """How many of these, from the first on, are run now: those that a group runs however slow, and what has time."""
    owed = sum(row in least for row in rows[:GROUP_LEAST])
    if time.monotonic() > deadline:
        return owed
    return max(owed, 1 if pace is None else int(left / pace))


def _run_batch(tx: Tx, runtime: Runtime, rows: list[Row], deadline: float) -> int:
    """All of them in one call where the database knows the handler; how many, from the first on, were run."""
    handler = _handler(rows[0])
    if not handler.in_database:
        return _run_here(tx, runtime, rows, deadline)
    tx.run(
        "deliveries.run_batch",
        handler=handler.name,
        actor_type=handler.actor_type.value,
        merchant_ids=array(row["merchant_id"] for row in rows),
        event_ids=array(row["event_id"] for row in rows),
        payment_ids=array(row["payment_id"] for row in rows),
        card=runtime.timing.outcome_due_card,
        bank=runtime.timing.outcome_due_bank,
    )
    return len(rows)


def _run_here(tx: Tx, runtime: Runtime, rows: list[Row], deadline: float) -> int:
    """One after the other by their Python handlers; how many, from the first on, were run."""
    # alone without a pipeline: an error is then raised where it happened, and its traceback says so
    with tx.connection.pipeline() if len(rows) > 1 else nullcontext() as pipeline:
        for ran, row in enumerate(rows):
            if pipeline is not None and ran % SYNC_EVERY == 0:
                # what is queued has not run yet: without waiting for it the clock would measure nothing
                pipeline.sync()
            if ran >= GROUP_LEAST and time.monotonic() > deadline:
                return ran
            handler = _handler(row)
            tx.act_as(_actor(handler.name, handler.actor_type, causation_id=str(row["event_id"])))
            handler.handle(tx, row, runtime.timing)
    return len(rows)


def _handler(row: Row) -> LocalHandler:
    handler = HANDLERS[row["handler"]]
    assert isinstance(handler, LocalHandler), f"{row['handler']} is picked for the local lane only"
    return handler


def _mark(tx: Tx, done: list[Row], held: Held | None) -> None:
    if done:
        own, worker_id = (held.job_id, held.worker_id) if held else (None, None)
        tx.run_last("deliveries.finish_group", **_arrays(done), own=own, worker_id=worker_id)


def _arrays(rows: list[Row]) -> dict[str, str]:
    """Which deliveries these are, with their jobs."""
    names = {"merchant_ids": "merchant_id", "event_ids": "event_id", "handlers": "handler", "job_ids": "job_id"}
    return {name: array(row[column] for row in rows) for name, column in names.items()}


def _defer_own(
    runtime: Runtime, key: DeliveryKey, job_id: int, why: str, *, seconds: float, longest: float | None = None
) -> None:
    runtime.database.transact(
        _actor("local"),
        lambda tx: deliveries.defer(tx, key, job_id, seconds=seconds, why=why, timing=runtime.timing, longest=longest),
        timeouts=PUTTING_OFF,
    )


def _is_outage(error: Exception) -> bool:
    found = domain_error(error) if isinstance(error, psycopg.Error) else error
    return isinstance(found, errors.DatabaseDown)


def _is_conflict(error: Exception) -> bool:
    """Two transactions in each other's way: nobody's failure, in either lane. `Busy` is how an opening says so."""
    if isinstance(error, psycopg.Error):
        return error.sqlstate in RERUN or error.sqlstate == LOCK_NOT_AVAILABLE
    return type(error) is errors.Busy


def _key(row: Row) -> DeliveryKey:
    return DeliveryKey(str(row["merchant_id"]), str(row["event_id"]), row["handler"])


def _actor(name: str, kind: ActorType = ActorType.WORKER, *, causation_id: str | None = None) -> Actor:
    return Actor(kind, name, Role.WORKER, causation_id=causation_id)


def _timeouts(runtime: Runtime) -> Timeouts:
    usual = runtime.database.timeouts
    lock = min(usual.lock, int(STATEMENT_MS * LOCK_SHARE))
    return Timeouts(statement=STATEMENT_MS, lock=lock, idle=usual.idle)


def _local_handlers() -> list[str]:
    return [name for name, handler in HANDLERS.items() if isinstance(handler, LocalHandler)]
