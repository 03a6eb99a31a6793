"""One bounded transaction of the clock, under a try-lock of its own, with its date and count on record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.db import Tx
from app.model.actor import Actor, ActorType, Role
from jobs.runtime import Runtime


@dataclass(frozen=True)
class Swept:
    """What one pass found, and how far it came if it walks by key: None at the end."""

    found: int
    walked_to: list[str] | None = None


def sweep_pass(runtime: Runtime, name: str, work: Callable[[Tx], int]) -> int:
    """A pass that looks everywhere at once."""
    return sweep_walk(runtime, name, lambda tx: Swept(work(tx)))


def sweep_walk(runtime: Runtime, name: str, work: Callable[[Tx], Swept]) -> int:
    """One bounded transaction under a try-lock of its own; who does not get the lock has nothing to do."""

    def guarded(tx: Tx) -> int:
        lock = tx.one("sweeps.try_lock", name=name)
        if lock is None or not lock["locked"]:
            return 0
        swept = work(tx)
        tx.run("sweeps.record", name=name, found=swept.found, walked_to=swept.walked_to)
        return swept.found

    return runtime.database.transact(Actor(ActorType.RECONCILER, f"sweep_{name}", Role.WORKER), guarded)
