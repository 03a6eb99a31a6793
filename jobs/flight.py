"""How many provider calls one process has in flight: as many as the provider answers in time, within two bounds.

It doubles while every slot is used and answered promptly, then grows by one a round, and halves when answers are late
or stay out: what is sent and not answered costs a question later, so more in flight than the provider bears is slower.
"""

from __future__ import annotations

import asyncio
import threading
import time

from app.model.outcome import Ambiguous, Outcome

# Where it begins, and what it never falls below: a few slow calls must not stop everything.
FEWEST = 16
# Answers that stay out together are one event: after halving it waits this long before it halves again.
CALM_SECONDS = 1.0
# Shares of the time in which a call must be answered: prompt enough to try more, and so late that the next may not be.
PROMPT, LATE = 1 / 8, 1 / 2


class Flight:
    """The slots of one process's remote lane: taken and left on the event loop, answered from threads."""

    def __init__(self, most: int, *, patience: float) -> None:
        """`patience`: seconds after which a call counts as unanswered."""
        self._most = most
        self._patience = patience
        self._limit = float(min(FEWEST, most))
        self._growing = True
        self._halved_at = float("-inf")
        self._taken = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._lock = threading.Lock()

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def taken(self) -> int:
        return self._taken

    async def take(self) -> bool:
        """Wait for a slot and take it; False when the process is ending."""
        while not self._closed and self._taken >= self.limit:
            self._changed.clear()
            await self._changed.wait()
        self._taken += not self._closed
        return not self._closed

    def leave(self) -> None:
        self._taken -= 1
        self._changed.set()

    def open(self) -> None:
        """A new life of the worker: nothing is in flight."""
        self._taken, self._closed, self._changed = 0, False, asyncio.Event()

    def close(self) -> None:
        """Nobody takes a slot any more, and whoever waits for one goes."""
        self._closed = True
        self._changed.set()

    def answered(self, outcome: Outcome, seconds: float) -> None:
        """Learn from how one call ended, and after how long."""
        with self._lock:
            if isinstance(outcome, Ambiguous) or seconds > self._patience * LATE:
                if time.monotonic() - self._halved_at > CALM_SECONDS:
                    self._limit = max(self._limit / 2, float(min(FEWEST, self._most)))
                    self._growing, self._halved_at = False, time.monotonic()
            elif self._taken >= self.limit and seconds < self._patience * PROMPT:
                self._limit = min(float(self._most), self._limit + (1 if self._growing else 1 / self._limit))
