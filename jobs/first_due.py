"""From which date on anything waits for the clock: what is gone before it need not be read past by every pass.

What was taken or put off stays in the index by date for as long as somebody's snapshot may want to see it.
"""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta

from app.db import Tx
from app.db.pool import Timeouts
from jobs.oldest import FULL_SCANS

# A date is given before it is committed: so long after it had passed, one may still come that the last scan did not
# see. What comes later yet is found by a full scan, from the very first date on.
SLACK = timedelta(seconds=15)
# A scan that was cut off is not tried again at once, and took no longer than this.
CUT_OFF_SECONDS = Timeouts().statement / 1_000
# A scan that took longer is worth telling the next process, whose full scan then comes some time within the longest
# time that one ever waits: a worker that starts has a backlog to deliver.
LONG_SECONDS = 0.05
FULL_SCAN_WITHIN = CUT_OFF_SECONDS / FULL_SCANS


class FirstDue:
    """What one process knows of when the first is due of all that wait; too early costs time, and nothing else.

    By the name of its sweep it learns what others knew before it began.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._is_told = name is None
        self._first: datetime | None = None
        self._full_scan_at = float("-inf")

    def since(self) -> datetime | None:
        """From which date on to scan for the first that waits; None from the very first on, as often as it may cost."""
        if self._first is None:
            return None
        if time.monotonic() < self._full_scan_at:
            return self._first - SLACK
        self._full_scan_at = time.monotonic() + CUT_OFF_SECONDS / FULL_SCANS
        return None

    def scan(self, tx: Tx, query: str) -> datetime:
        """From which date on something waits now: `query` answers, from a date on, with the first or with now."""
        self.learn(tx)
        since, began = self.since(), time.monotonic()
        found = tx.one(query, since=since)
        assert found is not None, "a scan always answers"
        first: datetime = found["due_at"]
        seconds = time.monotonic() - began
        self.scanned(since, first, seconds)
        self.tell(tx, seconds)
        return first

    def learn(self, tx: Tx) -> None:
        """Ask once, before the first scan, what was told by a process that had scanned for long."""
        if self._is_told:
            return
        self._is_told = True
        found = tx.one("sweeps.first_due", name=self._name)
        if found is not None and found["first_due_at"] is not None:
            self._first = found["first_due_at"]
            self._full_scan_at = time.monotonic() + random.uniform(0, FULL_SCAN_WITHIN)

    def tell(self, tx: Tx, seconds: float) -> None:
        """Leave what is known to the next process, if to learn it took so many seconds that it had better not."""
        if self._name is not None and seconds > LONG_SECONDS:
            tx.run("sweeps.keep_first_due", name=self._name, first_due_at=self._first)

    def scanned(self, since: datetime | None, found: datetime, seconds: float) -> None:
        """What a scan found: the first date, or when it was made if nothing was due."""
        if since is None:
            self._full_scan_at = time.monotonic() + seconds / FULL_SCANS
        self._first = found
