"""From which date on anything waits for the clock: what is gone before it need not be read past by every pass.

What was taken or put off stays in the index by date for as long as somebody's snapshot may want to see it.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from app.db.pool import Timeouts
from jobs.oldest import FULL_LOOKS

# A date is given before it is committed: so long after it had passed, one may still come that the last look did not
# see. What comes later yet is found by a look from the very first date on.
SLACK = timedelta(seconds=15)
# A look that was cut off is not tried again at once, and took no longer than this.
CUT_OFF_SECONDS = Timeouts().statement / 1_000


class FirstDue:
    """What one process knows of when the first is due of all that wait; too early costs time, and nothing else."""

    def __init__(self) -> None:
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

    def looked(self, since: datetime | None, found: datetime, seconds: float) -> None:
        """What a look found: the first date, or when it looked if nothing was due."""
        if since is None:
            self._full_look_at = time.monotonic() + seconds / FULL_LOOKS
        self._first = found
