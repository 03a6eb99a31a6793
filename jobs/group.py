"""One group of the local lane: the deliveries that one open transaction runs and marks.

It never begins or commits, and what its handlers raise is the lane's to judge.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field

from app.db import Tx
from app.db.pool import Row
from app.db.queries import array
from app.model.actor import Actor, Role
from jobs.handlers import HANDLERS, LocalHandler
from jobs.held import Held
from jobs.runtime import Runtime
from jobs.turn import GROUP_LEAST, GROUP_PATIENCE, Turn

# The clock is read this often, so the last stretch may overrun by as much work.
SYNC_EVERY = 10


@dataclass
class Group:
    """What one transaction did: deliveries run, and those left for another; `is_full` if more may wait than it took."""

    done: list[Row] = field(default_factory=list)
    left: list[Row] = field(default_factory=list)
    is_full: bool = False


def run_group(
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
            tx.act_as(Actor(handler.actor_type, handler.name, Role.WORKER, causation_id=str(row["event_id"])))
            handler.handle(tx, row, runtime.timing)
    return len(rows)


def _handler(row: Row) -> LocalHandler:
    handler = HANDLERS[row["handler"]]
    assert isinstance(handler, LocalHandler), f"{row['handler']} is picked for the local lane only"
    return handler


def _mark(tx: Tx, done: list[Row], held: Held | None) -> None:
    if done:
        own, worker_id = (held.job_id, held.worker_id) if held else (None, None)
        tx.run_last("deliveries.finish_group", **params_of(done), own=own, worker_id=worker_id)


def params_of(rows: list[Row]) -> dict[str, str]:
    """Which deliveries these are, with their jobs."""
    names = {"merchant_ids": "merchant_id", "event_ids": "event_id", "handlers": "handler", "job_ids": "job_id"}
    return {name: array(row[column] for row in rows) for name, column in names.items()}
