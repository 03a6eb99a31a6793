"""The local lane: a task runs its own delivery and carries siblings, all in one transaction.

No savepoints: on any error, the COMMIT's included, the group is rolled back and rerun in halves down to one, and only a
delivery that fails alone counts a failure.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import psycopg

from app import errors
from app.db import Tx
from app.db.errors import RERUN, domain_error
from app.db.pool import Timeouts
from app.model.actor import Actor, ActorType, Role
from app.services import deliveries, ledger
from app.services.deliveries import DeliveryKey, describe
from jobs.handlers import HANDLERS, LocalHandler
from jobs.remote import count_failure
from jobs.runtime import Runtime

logger = logging.getLogger(__name__)

# One group: enough to amortise the commit, small enough that the API never waits long for a payment's lock.
GROUP_SECONDS = 0.050
# How many to pick for that time before it is known how long one takes, and never more than.
GROUP_SIZE = 100
GROUP_MOST = 250
# The carrier's own, which is the oldest, and one of the merchant whose turn it is: both are run however slow they are.
GROUP_LEAST = 2
# How much of what is known about the time of one a new group replaces.
LEARNING = 0.3
# The clock is read this often, so the last stretch may overrun by as much work.
SYNC_EVERY = 10
# A handler of this lane only touches the database; one that takes longer than this is broken.
STATEMENT_MS = 2_000
# lock_timeout ran out.
LOCK_NOT_AVAILABLE = "55P03"
NOBODY = "00000000-0000-0000-0000-000000000000"

Row = dict[str, Any]


@dataclass
class Turn:
    """Whose deliveries come first in the next group, so that nobody waits behind another's, and how many it takes."""

    after: str = NOBODY
    seconds_each: float = GROUP_SECONDS / GROUP_SIZE
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def size(self) -> int:
        """As many as the time of one group suffices for, going by the last ones."""
        return max(GROUP_LEAST, min(GROUP_MOST, round(GROUP_SECONDS / self.seconds_each)))

    def move(self, group: Sequence[Row]) -> None:
        with self.lock:
            self.after = str(group[-1]["merchant_id"])

    def learn(self, ran: int, seconds: float) -> None:
        with self.lock:
            self.seconds_each += LEARNING * (seconds / ran - self.seconds_each)


@dataclass
class Group:
    """What one transaction did: deliveries run, and those left for another."""

    done: list[Row] = field(default_factory=list)
    left: list[Row] = field(default_factory=list)


def run_local(runtime: Runtime, key: DeliveryKey, job_id: int, turn: Turn) -> int:
    """Run the delivery of this job and as many siblings as fit its time; returns how many deliveries are done.

    Nothing is raised for what a handler does. A delivery that could not be locked is left to whoever holds it.
    """
    if not isinstance(HANDLERS.get(key.handler), LocalHandler):
        _defer_own(runtime, key, job_id, "unknown_handler", longest=runtime.timing.unknown_recheck)
        return 0
    picked: list[Row] = []
    try:
        group = _first_group(runtime, key, job_id, turn, picked)
    except Exception as error:
        if not picked:
            raise
        return _rerun(runtime, picked, error)
    return len(group.done)


def _first_group(runtime: Runtime, key: DeliveryKey, job_id: int, turn: Turn, picked: list[Row]) -> Group:
    with runtime.database.begin(_actor("local"), timeouts=_timeouts(runtime)) as tx:
        own = tx.one("deliveries.lock_one", **key.params(), job_id=job_id)
        if own is None:
            return Group()
        if own["paused"]:
            seconds = runtime.timing.pause_recheck
            deliveries.defer(tx, key, job_id, seconds=seconds, why="paused", timing=runtime.timing, capped=False)
            return Group()
        picked.append(own)
        if runtime.settings.carrying and not own["alone"] and own["failures"] == 0:
            size = turn.size
            siblings = tx.all("deliveries.pick_siblings", after=turn.after, limit=size, handlers=_local_handlers())
            picked += [row for row in siblings if _key(row) != key][: size - 1]
            turn.move(picked)
        began = time.monotonic()
        group = _run_group(tx, runtime, picked)
        if len(group.done) > 1:
            turn.learn(len(group.done), time.monotonic() - began)
        return group


def _rerun(runtime: Runtime, group: list[Row], error: Exception) -> int:
    """The group failed as a whole: halve it until what fails stands alone."""
    if _is_outage(error):
        raise error
    if len(group) == 1 and _is_conflict(error):
        _defer_own(runtime, _key(group[0]), group[0]["job_id"], "conflict")
        return 0
    if len(group) == 1:
        told = describe(error).traceback
        logger.warning("delivery %s of %s failed alone: %s", group[0]["event_id"], group[0]["handler"], told)
        count_failure(runtime, _key(group[0]), group[0]["job_id"], error)
        return 0
    middle = len(group) // 2
    return sum(_run_half(runtime, half) for half in (group[:middle], group[middle:]))


def _run_half(runtime: Runtime, half: list[Row]) -> int:
    try:
        with runtime.database.begin(_actor("local"), timeouts=_timeouts(runtime)) as tx:
            again = tx.all(
                "deliveries.lock_again",
                merchant_ids=[row["merchant_id"] for row in half],
                event_ids=[row["event_id"] for row in half],
                handlers=[row["handler"] for row in half],
                job_ids=[row["job_id"] for row in half],
            )
            return len(_run_group(tx, runtime, again).done) if again else 0
    except Exception as error:
        return _rerun(runtime, half, error)


def _run_group(tx: Tx, runtime: Runtime, group: list[Row]) -> Group:
    """Lock, run, mark: what is not free or finds the time over is left to another group."""
    locked = _lock_payments(tx, group)
    free = [row for row in group if row["payment_id"] is None or (row["merchant_id"], row["payment_id"]) in locked]
    deadline = time.monotonic() + GROUP_SECONDS
    result = Group()
    for in_database, run in itertools.groupby(free, key=lambda row: _handler(row).in_database):
        rows = list(run)
        if len(result.done) >= GROUP_LEAST and time.monotonic() > deadline:
            break
        ran = _run_in_database(tx, runtime, rows, deadline) if in_database else _run_here(tx, runtime, rows, deadline)
        result.done += rows[:ran]
        if ran < len(rows):
            break
    done = {_key(row) for row in result.done}
    result.left = [row for row in group if _key(row) not in done]
    _mark(tx, runtime, group, result)
    return result


def _run_in_database(tx: Tx, runtime: Runtime, rows: list[Row], deadline: float) -> int:
    """All of them in one call; how many, from the first on, were run."""
    ran = tx.one(
        "deliveries.run_group",
        handlers=[row["handler"] for row in rows],
        actor_types=[_handler(row).actor_type.value for row in rows],
        merchant_ids=[row["merchant_id"] for row in rows],
        event_ids=[row["event_id"] for row in rows],
        payment_ids=[row["payment_id"] for row in rows],
        seconds=max(0.0, deadline - time.monotonic()),
        card=runtime.timing.outcome_due_card,
        bank=runtime.timing.outcome_due_bank,
    )
    assert ran is not None and ran["ran"] >= 1, "a group runs at least its first"
    return int(ran["ran"])


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


def _lock_payments(tx: Tx, group: list[Row]) -> set[tuple[object, object]]:
    """All payments of the group in one ordered statement; what another holds is not waited for."""
    wanted = [row for row in group if row["payment_id"] is not None]
    if not wanted:
        return set()
    rows = tx.all(
        "payments.lock_group",
        merchant_ids=[row["merchant_id"] for row in wanted],
        payment_ids=[row["payment_id"] for row in wanted],
    )
    return {(row["merchant_id"], row["id"]) for row in rows}


def _mark(tx: Tx, runtime: Runtime, group: list[Row], result: Group) -> None:
    # nothing of it is awaited: alone it is not pipelined, so that an error of the ledger stands where it happened
    with tx.connection.pipeline() if len(group) > 1 else nullcontext():
        if result.done:
            # after the last payment's lock: balances are locked once per group, in their own order
            ledger.close(tx)
            tx.act_as(_actor("local"))
            tx.run(
                "deliveries.finish_group",
                merchant_ids=[row["merchant_id"] for row in result.done],
                event_ids=[row["event_id"] for row in result.done],
                handlers=[row["handler"] for row in result.done],
            )
            tx.run("deliveries.delete_jobs", job_ids=[row["job_id"] for row in result.done if row is not group[0]])
    if group[0] in result.left:
        # our own job ends with this task, so our delivery needs another
        key, job_id, seconds = _key(group[0]), group[0]["job_id"], runtime.timing.sweep_promote
        deliveries.defer(tx, key, job_id, seconds=seconds, why="payment_locked", timing=runtime.timing)


def _defer_own(runtime: Runtime, key: DeliveryKey, job_id: int, why: str, *, longest: float | None = None) -> None:
    timing = runtime.timing
    runtime.database.transact(
        _actor("local"),
        lambda tx: deliveries.defer(
            tx, key, job_id, seconds=timing.pause_recheck, why=why, timing=timing, longest=longest
        ),
    )


def _is_outage(error: Exception) -> bool:
    found = domain_error(error) if isinstance(error, psycopg.Error) else error
    return isinstance(found, errors.DatabaseDown)


def _is_conflict(error: Exception) -> bool:
    """Two transactions in each other's way: nobody's failure, in either lane."""
    return isinstance(error, psycopg.Error) and (error.sqlstate in RERUN or error.sqlstate == LOCK_NOT_AVAILABLE)


def _key(row: Row) -> DeliveryKey:
    return DeliveryKey(str(row["merchant_id"]), str(row["event_id"]), row["handler"])


def _actor(name: str, kind: ActorType = ActorType.WORKER, *, causation_id: str | None = None) -> Actor:
    return Actor(kind, name, Role.WORKER, causation_id=causation_id)


def _timeouts(runtime: Runtime) -> Timeouts:
    return Timeouts(statement=STATEMENT_MS, lock=runtime.database.timeouts.lock, idle=runtime.database.timeouts.idle)


def _local_handlers() -> list[str]:
    return [name for name, handler in HANDLERS.items() if isinstance(handler, LocalHandler)]
