"""Stores the webhooks of a provider account; what comes while others are stored goes together, in one transaction."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.db import Database
from app.db.pool import Row
from app.errors import DatabaseDown, PostboxError
from app.model.actor import Actor, ActorType, Role
from app.providers.protocol import Provider
from app.services import webhooks

# At most so many in one transaction: a request waits for its own event and for these.
MOST = 16


@dataclass(eq=False)
class Waiting:
    """An event whose request waits for its commit, or for its turn to store it with all that came meanwhile."""

    event: Mapping[str, object]
    turn: threading.Event = field(default_factory=threading.Event)
    was_taken: bool = False
    found: Row | None = None
    down: DatabaseDown | None = None


class Inbox:
    """One per process and account: one request stores at a time, for all that wait; one that is alone waits for nobody.

    Events come in bursts, and the beginning and the commit of a transaction cost as much as storing one of them. Each
    is answered after its own commit and fails for its own reasons: when several could not be stored together, each is
    stored alone.
    """

    def __init__(self, provider: Provider, database: Database) -> None:
        self.provider = provider
        self.actor = Actor(ActorType.API, f"webhook:{provider.name}/{provider.account}", Role.API)
        self._database = database
        self._lock = threading.Lock()
        self._waiting: deque[Waiting] = deque()
        self._is_storing = False

    @property
    def waiting(self) -> int:
        """Requests that wait for others to be stored."""
        return len(self._waiting)

    def receive(self, event: Mapping[str, object]) -> bool:
        """True when the event is new, False when it was stored before; made by `services.webhooks.received`.

        It is committed then. Raises NotFound when nobody owns the account, and whatever it was refused for.
        """
        mine = Waiting(event)
        with self._lock:
            self._waiting.append(mine)
            waits, self._is_storing = self._is_storing, True
        if waits:
            mine.turn.wait()
        if not mine.was_taken:
            self._store_with_others()
        if mine.down is not None:
            raise DatabaseDown() from mine.down
        return webhooks.is_new(mine.found or self._store([mine])[0])

    def _store_with_others(self) -> None:
        """Store the events that waited longest, and pass the turn on; none of them waits any more, however it ends."""
        with self._lock:
            together = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        # in one order everywhere: two processes that are told the same events at once never wait for each other
        together.sort(key=lambda one: str(one.event["provider_event_id"]))
        for one in together:
            one.was_taken = True
        try:
            for one, found in zip(together, self._store(together), strict=True):
                one.found = found
        except DatabaseDown as down:
            for one in together:
                one.down = down
        except PostboxError:
            if len(together) == 1:
                raise
        finally:
            with self._lock:
                following = list(self._waiting)[:1]
                self._is_storing = bool(following)
            for one in (*together, *following):
                one.turn.set()

    def _store(self, some: Sequence[Waiting]) -> list[Row]:
        events = [one.event for one in some]
        name, account = self.provider.name, self.provider.account
        return webhooks.receive(self._database, self.actor, provider=name, account=account, events=events)
