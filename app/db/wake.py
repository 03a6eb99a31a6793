"""Wakes idle workers after a commit, at most once per interval and process: latency only, never correctness."""

from __future__ import annotations

import threading

import psycopg

from app import errors
from app.db.pool import Database
from app.db.queries import QUERIES


class Waker:
    """NOTIFY from outside the transaction: inside, it would serialise the commits of the whole cluster."""

    def __init__(self, database: Database, *, every: float) -> None:
        """`every`: seconds between two notifications at most."""
        self._database = database
        self._every = every
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def wake(self) -> None:
        """Ask for a wake-up soon; returns at once."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
                    self._thread.start()
        self._wanted.set()

    def close(self) -> None:
        self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def wake_once(self) -> None:
        """Send one notification now. A database that is down or breaks off wakes nobody: workers poll as well."""
        try:
            with self._database.connection() as connection:
                connection.execute(QUERIES["transactions.wake_workers"].encode())
        except (errors.DatabaseDown, psycopg.Error):
            return

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closed.is_set():
                return
            self.wake_once()
            self._closed.wait(self._every)
