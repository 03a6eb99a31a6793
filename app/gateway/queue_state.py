"""The queue and the books as the database saw them a moment ago: asked at most every few seconds, whoever scrapes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from app.db import Database
from app.db.pool import Row
from app.errors import PostboxError
from app.model.actor import Actor, ActorType, Role
from app.services.health import backlog, debts, open_discrepancies, unknown_outcomes

# Several scrapers, or an impatient one, must not become load on the database.
CACHE_SECONDS = 5.0

ACTOR = Actor(ActorType.API, "metrics", Role.API)


@dataclass(frozen=True)
class Seen:
    """Deliveries by handler, payments of unknown outcome (None: the database did not answer), discrepancies, debts."""

    handlers: list[Row]
    unknown: Row | None
    discrepancies: list[Row]
    debts: list[Row]


class QueueState:
    """What the database said last, for a few seconds; one thread asks, the others take what there is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._seen = Seen([], None, [], [])

    def read(self, database: Database) -> Seen:
        with self._lock:
            if time.monotonic() - self._read_at >= CACHE_SECONDS:
                try:
                    self._seen = database.transact(
                        ACTOR, lambda tx: Seen(backlog(tx), unknown_outcomes(tx), open_discrepancies(tx), debts(tx))
                    )
                except PostboxError:
                    self._seen = Seen([], None, [], [])
                self._read_at = time.monotonic()
            return self._seen
