"""Does for many requests at once what each of them waits for: a transaction costs as much for one as for sixteen."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.errors import Busy, DatabaseDown

Item = TypeVar("Item")
Found = TypeVar("Found")

# At most so many at once: a request waits for its own and for these.
MOST = 16
# For those before it, and then for its own: longer than a connection and a statement may take, each of which is
# bounded, and shorter than a process that ends is given. What it wanted may still be done later; it asks again.
PATIENCE_SECONDS = 15.0
# What is nobody's fault: one by one each would wait for it once more.
OF_NOBODY = (DatabaseDown, Busy)


def _not_yet() -> threading.Lock:
    """A signal: whoever waits takes it, whoever gives it lets it go. An Event is two locks and a list for the same."""
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class Waiting(Generic[Item, Found]):
    """What a request waits for: to be done by another's, or its own turn to do it for all that came meanwhile."""

    item: Item
    turn: threading.Lock = field(default_factory=_not_yet)
    was_taken: bool = False
    found: Found | None = None
    error: Exception | None = None


class Together(Generic[Item, Found]):
    """One request of the process works at a time, for all that wait; one that is alone waits for nobody.

    Each is answered once its own is done and committed. When several could not be done together, they are done one by
    one, so that each fails for its own reasons; what is nobody's fault is told to all.
    """

    def __init__(self, do: Callable[[Sequence[Item]], Sequence[Found]]) -> None:
        """`do` does some in one transaction: as many results, none of them None, in the same order."""
        self._do = do
        self._lock = threading.Lock()
        self._waiting: deque[Waiting[Item, Found]] = deque()
        self._is_working = False

    def do(self, item: Item) -> Found:
        """What `do` found for this one. Raises what it raised for it, and DatabaseDown when nobody came to an end."""
        mine: Waiting[Item, Found] = Waiting(item)
        with self._lock:
            self._waiting.append(mine)
            waits, self._is_working = self._is_working, True
        if waits and not mine.turn.acquire(timeout=PATIENCE_SECONDS):
            self._give_up(mine)
        if not mine.was_taken:
            self._work()
        if mine.error is not None:
            raise mine.error
        assert mine.found is not None, "whoever took it says what came of it"
        return mine.found

    def _give_up(self, mine: Waiting[Item, Found]) -> None:
        """Raises DatabaseDown, unless its turn has come in this moment: a turn that nobody takes would be the last."""
        with self._lock:
            if mine.turn.acquire(blocking=False):
                return
            if not mine.was_taken:
                self._waiting.remove(mine)
        raise DatabaseDown()

    def _work(self) -> None:
        """Do what waited longest, and pass the turn on; none of these waits any more, however it ends."""
        with self._lock:
            some = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            for one in some:
                one.was_taken = True
        try:
            self._try(some)
        finally:
            with self._lock:
                following = list(self._waiting)[:1]
                self._is_working = bool(following)
                for one in (*some, *following):
                    one.turn.release()

    def _try(self, some: Sequence[Waiting[Item, Found]]) -> None:
        try:
            for one, found in zip(some, self._do([one.item for one in some]), strict=True):
                one.found = found
        except Exception as error:
            if len(some) == 1 or isinstance(error, OF_NOBODY):
                for one in some:
                    one.error = error
                return
            for one in some:
                self._try([one])
