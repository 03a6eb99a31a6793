"""What busy workers leave to the API: groups of local deliveries take turns, each with a rest as long as it was.

Group after group keeps every core and the disk busy, and a request of the API, which crosses between its process and
its backend a dozen times, waits for a core each time. How much room there is nobody can ask; that somebody is served
beside it is counted in the database. While nobody is, nothing rests.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.db import Tx

# Whoever was served so lately comes again: a request now and then finds a worker that rests already, and does not wait
# for the group that it came into.
SERVING_SECONDS = 10.0


def cores() -> int:
    """Those that this process may run on, where the platform tells; of a container its cpuset counts, and no quota."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# While somebody is served, groups in all of the database at once: they leave him half of the cores. Those of the
# database nobody here can ask; who runs it on more than its workers have drains less beside the API than could be.
GROUPS_AT_ONCE = max(1, cores() // 2)
# A slot is free for as long as its last group rests, 20 ms and more: whoever waits tries again about as soon. Who has
# found none in a third of a second goes without: workers are too many for their slots, and none is to fail for it.
SLOT_TRIES = 10
SLOT_TRY_SECONDS = 0.04
# What lasted longer than this waited for somebody itself.
REST_MOST = 0.2


class Courtesy:
    """Whether anybody was served lately, as one process knows it, and the turns of its groups while somebody is."""

    def __init__(self) -> None:
        self._served: int | None = None
        self._served_at = float("-inf")
        self._sampled_at = float("-inf")
        # whether the last group here left something behind: one that takes all there is waits for nobody
        self.is_behind = False
        self._turn = threading.Lock()

    def sample(self, tx: Tx) -> None:
        """See whether the API has served anybody since the last sample."""
        counted = tx.one("deliveries.served")
        assert counted is not None, "a count is always there"
        self.sampled(int(counted["served"]), time.monotonic())

    def sampled(self, served: int, now: float) -> None:
        """So many were served until `now`; the first sample, or one after a long while, cannot tell when."""
        is_recent = now - self._sampled_at <= SERVING_SECONDS
        if self._served is not None and served != self._served and is_recent:
            self._served_at = now
        self._served, self._sampled_at = served, now

    def is_due(self, now: float) -> bool:
        """Whether somebody was served lately."""
        return now - self._served_at < SERVING_SECONDS

    def rest_after(self, took: float, now: float) -> float:
        """How many seconds to rest after so many of work."""
        return min(took, REST_MOST) if self.is_due(now) else 0.0

    def tries(self, ending: threading.Event) -> Iterator[bool]:
        """Tries at a slot, with a wait between, outside of any transaction; True, the last, is to go without one."""
        for _ in range(SLOT_TRIES):
            yield False
            if ending.wait(SLOT_TRY_SECONDS * random.uniform(0.5, 1)):
                break
        yield True

    def needs_slot(self) -> bool:
        """Whether somebody is served beside a backlog here."""
        return self.is_behind and self.is_due(time.monotonic())

    def take_slot(self, tx: Tx) -> bool:
        """Take one of the slots that all workers share, until COMMIT, where it needs one.

        False when all are taken: nobody waits for one with a transaction open.
        """
        if not self.needs_slot():
            return True
        found = tx.one("deliveries.take_slot", slots=GROUPS_AT_ONCE)
        assert found is not None, "a try always answers"
        return bool(found["taken"])

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While somebody is served: one at a time in this process, its rest included."""
        if not self.is_due(time.monotonic()):
            yield
            return
        with self._turn:
            yield

    def rest(self, took: float, ending: threading.Event) -> float:
        """After `took` seconds of work that is not the last; a process that ends does not rest. Returns how long."""
        seconds = self.rest_after(took, time.monotonic())
        if seconds:
            ending.wait(seconds)
        return seconds
