"""From which job on the queue holds anything: what is gone before it need not be read past by every fetch.

A deleted job stays in the indexes for as long as somebody's snapshot may want to see it, and a dump's is hours old.
"""

from __future__ import annotations

import time

# Jobs get their numbers before they are committed: so many back, one may still come that the last scan did not see.
SLACK = 2_000
# How often to scan for where the queue begins now; and the share of the time that full scans may take, from the very
# first number on, which find what came later than the slack allows for: a large transaction's jobs.
SCAN_SECONDS = 1.0
FULL_SCANS = 0.02


class OldestJob:
    """What one process knows of where the queue begins; too low a number costs time, and nothing else."""

    def __init__(self) -> None:
        self._oldest = 0
        self._newest = 0
        self._scan_at = self._full_scan_at = float("-inf")

    @property
    def number(self) -> int:
        """Nothing that waits has a smaller one, as far as is known."""
        return max(0, self._oldest - SLACK)

    def fetched(self, number: int) -> None:
        """This one was there."""
        self._newest = max(self._newest, number)

    def scan_since(self) -> int | None:
        """From which number on to scan for the first job that is there; None while the last scan is good enough."""
        now = time.monotonic()
        if now < self._scan_at:
            return None
        self._scan_at = now + SCAN_SECONDS
        return 0 if now >= self._full_scan_at else self.number

    def scanned(self, since: int, found: int | None, seconds: float) -> None:
        """What a scan found: a job's number, or that nothing waits."""
        if since == 0:
            self._full_scan_at = time.monotonic() + max(SCAN_SECONDS, seconds / FULL_SCANS)
        self._oldest = found if found is not None else max(self._oldest, self._newest)
