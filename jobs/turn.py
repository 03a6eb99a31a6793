"""How large a group of local deliveries is and whose come first: what one process has learned from those it ran."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# One group: enough to amortise the commit, small enough that the API never waits long for a payment's lock. It is work
# at the best pace that a handler kept lately, and of the handlers alone: by the clock a busy machine would make groups
# small, which makes it busier. So with picking, locking and the commit, and beside others on the same cores, a large
# group lasts twice as long and more.
GROUP_SECONDS = 0.050
# And while the API serves somebody: a commit of the API waits for what a group has written, and a request for its core.
SERVING_GROUP_SECONDS = 0.020
# By the clock no group begins a further call after this; the one that runs, of all that is one handler's, ends first.
GROUP_PATIENCE = 0.200
# How many to pick for that time before it is known how long one takes, and never more than.
GROUP_SIZE = 100
GROUP_MOST = 250
# The carrier's own, which is the oldest, and one of the merchant whose turn it is: both are run however slow they are.
GROUP_LEAST = 2
# By how much a pace may slow down at once.
LEARNING = 0.3
NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass
class Turn:
    """Whose deliveries come first in the next group, so that nobody waits behind another's, and how many it takes."""

    after: str = NOBODY
    seconds_each: float = GROUP_SECONDS / GROUP_SIZE
    paces: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def size(self, seconds: float = GROUP_SECONDS) -> int:
        """As many as this time suffices for, going by the last groups."""
        return max(GROUP_LEAST, min(GROUP_MOST, round(seconds / self.seconds_each)))

    def move(self, group: Sequence[dict[str, Any]]) -> None:
        with self.lock:
            self.after = str(group[-1]["merchant_id"])

    def learn(self, ran: int, work: float) -> None:
        with self.lock:
            self.seconds_each = _slower_little_by_little(self.seconds_each, work / ran)

    def pace(self, handler: str) -> float | None:
        """The seconds that one delivery of a handler takes; None until one was run."""
        return self.paces.get(handler)

    def keep_pace(self, handler: str, ran: int, seconds: float) -> float:
        """Learn from what was just run how long one takes."""
        with self.lock:
            known = self.paces.get(handler, seconds / ran)
            self.paces[handler] = pace = _slower_little_by_little(known, seconds / ran)
        return pace


def _slower_little_by_little(known: float, found: float) -> float:
    """What was quicker is believed at once; what was slower may be the machine, and is believed when it goes on."""
    return min(found, known * (1 + LEARNING))
