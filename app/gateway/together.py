"""Does for many requests at once what each of them waits for: a transaction costs as much for one as for sixteen."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.errors import DatabaseDown, PostboxError

Item = TypeVar("Item")
Found = TypeVar("Found")

# At most so many at once: a request waits for its own and for these.
MOST = 16


@dataclass(eq=False)
class Waiting(Generic[Item, Found]):
    """What a request waits for: to be done by another's, or its own turn to do it for all that came meanwhile."""

    item: Item
    turn: threading.Event = field(default_factory=threading.Event)
    was_taken: bool = False
    found: Found | None = None
    down: DatabaseDown | None = None


class Together(Generic[Item, Found]):
    """One request of the process works at a time, for all that wait; one that is alone waits for nobody.

    Each is answered once its own is done and committed. When several could not be done together, each is done alone.
    """

    def __init__(self, do: Callable[[Sequence[Item]], Sequence[Found]]) -> None:
        """`do` does some in one transaction: as many results, none of them None, in the same order."""
        self._do = do
        self._lock = threading.Lock()
        self._waiting: deque[Waiting[Item, Found]] = deque()
        self._is_working = False

    @property
    def waiting(self) -> int:
        """Requests that wait for those before them."""
        return len(self._waiting)

    def do(self, item: Item) -> Found:
        """What `do` found for this one. Raises what it raised for it alone, and DatabaseDown."""
        mine: Waiting[Item, Found] = Waiting(item)
        with self._lock:
            self._waiting.append(mine)
            waits, self._is_working = self._is_working, True
        if waits:
            mine.turn.wait()
        if not mine.was_taken:
            self._work()
        if mine.down is not None:
            raise DatabaseDown() from mine.down
        return self._do([item])[0] if mine.found is None else mine.found

    def _work(self) -> None:
        """Do what waited longest, and pass the turn on; none of these waits any more, however it ends."""
        with self._lock:
            some = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        for one in some:
            one.was_taken = True
        try:
            for one, found in zip(some, self._do([one.item for one in some]), strict=True):
                one.found = found
        except DatabaseDown as down:
            for one in some:
                one.down = down
        except PostboxError:
            if len(some) == 1:
                raise
        finally:
            with self._lock:
                following = list(self._waiting)[:1]
                self._is_working = bool(following)
            for one in (*some, *following):
                one.turn.set()
