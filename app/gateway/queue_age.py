"""How old the queue is, asked once a second while somebody asks, on a thread of its own; nobody waits for it."""

from __future__ import annotations

import threading

from app.db import Database
from app.errors import PostboxError
from app.model.actor import Actor, ActorType, Role
from app.services.health import oldest_runnable

# Between two polls of a process: the limit is minutes, and a poll costs what one request does.
POLL_SECONDS = 1.0

ACTOR = Actor(ActorType.API, "queue age", Role.API)


class QueueAge:
    """Seconds that the oldest runnable delivery has waited, as of about a second ago; 0.0 while nothing is known."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seconds = 0.0
        self._asked = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def seconds(self) -> float:
        """What is known now; asks for another poll and does not wait for it."""
        if self._thread is None:
            # with the first request, so after the fork
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="queue age", daemon=True)
                    self._thread.start()
        self._asked.set()
        return self._seconds

    def poll_once(self) -> None:
        """Ask now. A database that is away tells nothing, and whoever needs it hears of that by himself."""
        try:
            self._seconds = self._database.open().transact(ACTOR, oldest_runnable)
        except PostboxError:
            self._seconds = 0.0

    def close(self) -> None:
        self._closed.set()
        self._asked.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._closed.is_set():
                return
            self.poll_once()
            self._closed.wait(POLL_SECONDS)
