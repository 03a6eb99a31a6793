"""From which date on anything waits for the clock: what is gone before it need not be read past by every pass.

What was taken or put off stays in the index by date for as long as somebody's snapshot may want to see it.
"""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta

from app.db import Tx
from app.db.pool import Timeouts
from jobs.oldest import FULL_LOOKS

# A date is given before it is committed: so long after it had passed, one may still come that the last look did not
# see. What comes later yet is found by a look from the very first date on.
SLACK = timedelta(seconds=15)
# A look that was cut off is not tried again at once, and took no longer than this.
CUT_OFF_SECONDS = Timeouts().statement / 1_000
# A look that took longer is worth telling the next process, which then looks from the very first date on some time
# within the longest time that such looks ever wait: a worker that starts has a backlog to deliver.
LONG_SECONDS = 0.05
FULL_LOOK_WITHIN = CUT_OFF_SECONDS / FULL_LOOKS


class FirstDue:
    """What one process knows of when the first is due of all that wait; too early costs time, and nothing else.

    By the name of its sweep it learns what others knew before it began.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._is_told = name is None
        self._first: datetime | None = None
        self._full_look_at = float("-inf")

    def since(self) -> datetime | None:
        """From which date on to look for the first that waits; None from the very first on, as often as it may cost."""
        if self._first is None:
            return None
        if time.monotonic() < self._full_look_at:
            return self._first - SLACK
        self._full_look_at = time.monotonic() + CUT_OFF_SECONDS / FULL_LOOKS
        return None

    def look(self, tx: Tx, query: str) -> datetime:
        """From which date on something waits now: `query` answers, from a date on, with the first or with now."""
        self.learn(tx)
        since, began = self.since(), time.monotonic()
        found = tx.one(query, since=since)
        assert found is not None, "a look always answers"
        first: datetime = found["due_at"]
        seconds = time.monotonic() - began
        self.looked(since, first, seconds)
        self.tell(tx, seconds)
        return first

    def learn(self, tx: Tx) -> None:
        """Ask once, before the first look, what was told by a process that had looked for long."""
        if self._is_told:
            return
        self._is_told = True
        found = tx.one("sweeps.first_due", name=self._name)
        if found is not None and found["first_due_at"] is not None:
            self._first = found["first_due_at"]
            self._full_look_at = time.monotonic() + random.uniform(0, FULL_LOOK_WITHIN)

    def tell(self, tx: Tx, seconds: float) -> None:
        """Leave what is known to the next process, if to learn it took so many seconds that it had better not."""
        if self._name is not None and seconds > LONG_SECONDS:
            tx.run("sweeps.keep_first_due", name=self._name, first_due_at=self._first)

    def looked(self, since: datetime | None, found: datetime, seconds: float) -> None:
        """What a look found: the first date, or when it looked if nothing was due."""
        if since is None:
            self._full_look_at = time.monotonic() + seconds / FULL_LOOKS
        self._first = found
