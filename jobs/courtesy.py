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
# While somebody is served, groups in all of the database at once: they leave him half of the cores. Those of the
# database nobody here can ask; who runs it on more than its workers have drains less beside the API than could be.
GROUPS_AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
# What lasted longer than this waited for somebody itself.
REST_MOST = 0.2


class Courtesy:
    """Whether anybody was served lately, as one process knows it, and the turns of its groups while somebody is."""

    def __init__(self) -> None:
        self._served: int | None = None
        self._served_at = float("-inf")
        self._looked_at = float("-inf")
        # whether the last group here left something behind: one that takes all there is waits for nobody
        self.is_behind = False
        self._turn = threading.Lock()

    def look(self, tx: Tx) -> None:
        """See whether the API has served anybody since the last look."""
        counted = tx.one("deliveries.served")
        assert counted is not None, "a count is always there"
        self.looked(int(counted["served"]), time.monotonic())

    def looked(self, served: int, now: float) -> None:
        """So many were served until `now`; the first look, or one after a long while, cannot tell when."""
        is_recent = now - self._looked_at <= SERVING_SECONDS
        if self._served is not None and served != self._served and is_recent:
            self._served_at = now
        self._served, self._looked_at = served, now

    def is_due(self, now: float) -> bool:
        """Whether somebody was served lately."""
        return now - self._served_at < SERVING_SECONDS

    def rest_after(self, took: float, now: float) -> float:
        """How many seconds to rest after so many of work."""
        return min(took, REST_MOST) if self.is_due(now) else 0.0

    def take_turn(self, tx: Tx) -> None:
        """With a backlog while somebody is served: wait for a place of those that all workers share, until COMMIT."""
        if self.is_behind and self.is_due(time.monotonic()):
            tx.run("deliveries.take_turn", place=random.randrange(GROUPS_AT_ONCE))

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
