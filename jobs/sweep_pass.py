"""One bounded transaction of the clock, under a try-lock of its own, with its date and count on record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
    """A pass over everything at once."""
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


def sweep_pages(
    runtime: Runtime, name: str, page: Callable[[Tx, Sequence[str]], Swept], *, first: Sequence[str], seconds: float
) -> int:
    """Pages of a walk, each its own transaction, up to its end or for so long; the next pass goes on from there.

    `page` is given the key where the last one ended, whoever ran it: `first`, which is before all, when none did.
    """
    until = time.monotonic() + seconds
    found, more = 0, False

    def one(tx: Tx) -> Swept:
        nonlocal more
        known = tx.one("sweeps.walked_to", name=name)
        swept = page(tx, (known and known["walked_to"]) or first)
        more = swept.walked_to is not None
        return swept

    while True:
        # who does not get the lock leaves the rest of the walk to whoever has it
        more = False
        found += sweep_walk(runtime, name, one)
        if not more or runtime.draining.is_set() or time.monotonic() > until:
            return found
