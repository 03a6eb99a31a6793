"""The state of the queue as the database saw it a moment ago: asked at most every few seconds, whoever scrapes."""

from __future__ import annotations

import threading
import time

from app.db import Database
from app.db.pool import Row
from app.errors import PostboxError
from app.model.actor import Actor, ActorType, Role
from app.services.health import backlog, unknown_outcomes

# Several scrapers, or an impatient one, must not become load on the database.
CACHE_SECONDS = 5.0

ACTOR = Actor(ActorType.API, "metrics", Role.API)


class QueueState:
    """What the database said last, for a few seconds; one thread asks, the others take what there is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._handlers: list[Row] = []
        self._unknown: Row | None = None

    def read(self, database: Database) -> tuple[list[Row], Row | None]:
        with self._lock:
            if time.monotonic() - self._read_at >= CACHE_SECONDS:
                try:
                    self._handlers, self._unknown = database.transact(
                        ACTOR, lambda tx: (backlog(tx), unknown_outcomes(tx))
                    )
                except PostboxError:
                    self._handlers, self._unknown = [], None
                self._read_at = time.monotonic()
            return self._handlers, self._unknown
