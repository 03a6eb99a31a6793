"""Connections that know what they have prepared; what their server would lose in a crash, with which nothing runs."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import structlog

from app import errors
from app.db.durability import unsafe_settings
from app.db.queries import QUERIES

log = structlog.get_logger()

# What was found out so long ago about what a server may forget is found out anew: inspecting costs what a request does,
# and a setting can change while a server runs.
INSPECT_SECONDS = 10.0


class InspectedConnection(psycopg.Connection[dict[str, Any]]):
    """A connection that knows when it last answered, what it has prepared of pieces and when it forgot that, and which
    settings of its server would lose what it commits.
    """

    prepared: dict[tuple[bytes, tuple[int, ...]], bytes]
    answered_at = 0.0
    forgot_at = float("-inf")
    inspected_at = float("-inf")
    unsafe: Sequence[str] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prepared = {}
        self._names = itertools.count()

    def prepare_as(self, kind: tuple[bytes, tuple[int, ...]]) -> bytes:
        """A name for a statement of these types, which none has had in this session."""
        name = self.prepared[kind] = f"piece_{next(self._names)}".encode()
        return name

    def forget(self) -> None:
        """Forget all that was prepared, by the driver too: by the answer it sees that only the first time."""
        self._prepared.clear()
        self.execute(QUERIES["transactions.forget"], prepare=False)
        self.prepared.clear()
        self.forgot_at = time.monotonic()

    def rollback(self) -> None:
        """As the driver does, which has the session forget all, where the driver has prepared anything itself."""
        super().rollback()
        if self.prepared:
            self.forget()

    @property
    def is_to_be_inspected(self) -> bool:
        return self.inspected_at < time.monotonic() - INSPECT_SECONDS


class Inspection:
    """What one pool accepts of its server, and what becomes of connections to one that may forget more."""

    def __init__(self, accepted: frozenset[str] | None, met_unsafe: Callable[[], None]) -> None:
        """`accepted`: unsafe settings with which all runs as if they were safe; None: nobody inspects."""
        self._accepted = accepted
        self._met_unsafe = met_unsafe
        self._drained_at = float("-inf")
        self._one_drains = threading.Lock()

    def inspect(self, connection: InspectedConnection) -> None:
        """Find out what a crash of the server would lose, beyond what was accepted, unless that is known of late."""
        if self._accepted is None or not connection.is_to_be_inspected:
            return
        connection.unsafe = [name for name in unsafe_settings(connection) if name not in self._accepted]
        connection.inspected_at = time.monotonic()
        if connection.unsafe:
            log.error("PostgreSQL would lose payments in a crash, so nothing runs on it", settings=connection.unsafe)

    def refuse(self, connection: InspectedConnection, drain: Callable[[], None]) -> None:
        """Raises UnsafeDatabase when that was found unsafe; of all who meet it at once, one drains the pool."""
        if not connection.unsafe:
            return
        self._met_unsafe()
        # not for good: the server of the next ones may be mended, or another
        if connection.is_to_be_inspected:
            self._drain_once(connection, drain)
        raise errors.UnsafeDatabase(settings=connection.unsafe)

    def _drain_once(self, connection: InspectedConnection, drain: Callable[[], None]) -> None:
        with self._one_drains:
            # what was inspected before the pool was drained went with it
            if connection.inspected_at < self._drained_at:
                return
            self._drained_at = time.monotonic()
            drain()
