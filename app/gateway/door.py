"""Refuses, before a thread, a transaction or a look at a key, what cannot be done soon or has just been refused.

Two reasons: too much is waiting (503, writes only), and a bucket that was found empty cannot hold a token yet (429).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.config import Shed
from app.db import Database
from app.errors import PostboxError
from app.gateway.counters import REFUSED, SHED
from app.gateway.problems import Overloaded, RateLimited
from app.gateway.queue_age import QueueAge

# Merchants' paths. Operators' and providers' are let in whatever waits: they are what ends an overload.
PREFIX = "/v1/"
CLASSES = {"GET": "read", "HEAD": "read"} | dict.fromkeys(("POST", "PUT", "PATCH", "DELETE"), "write")

# Seconds until a refused write is worth another try: a full process has room soon, workers catch up slowly.
COME_BACK = {"requests": 1, "pool_waiters": 1, "queue_age": 15}
# Empty buckets that a process remembers, each for a second at most; beyond it all are forgotten and asked again.
MOST_EMPTY = 10_000


@dataclass(frozen=True)
class Refusal:
    """Why, as an error of the edge, and the headers that its answer carries."""

    error: PostboxError
    headers: Mapping[str, str]


@dataclass
class Door:
    """One per process. `refusal` looks at numbers of this process, never at a database."""

    limits: Shed
    database: Database
    age: QueueAge
    _empty: dict[tuple[bytes, str], tuple[float, tuple[str, ...], Refusal]] = field(default_factory=dict)

    def refusal(self, method: str, path: str, caller: Callable[[], bytes], *, waiting: int = 0) -> Refusal | None:
        """Why this request is not let in, or None; `waiting` requests of this process have no thread yet.

        `caller` tells who asks, where somebody is to be refused for having asked before.
        """
        class_ = CLASSES.get(method)
        if class_ is None or not path.startswith(PREFIX):
            return None
        reason = self._overload(waiting) if class_ == "write" else None
        if reason is not None:
            SHED.labels(reason).inc()
            return Refusal(Overloaded(), {"Retry-After": str(COME_BACK[reason])})
        return self._remembered(caller(), class_) if self._empty else None

    def remember(
        self, caller: bytes, class_: str, *, scopes: tuple[str, ...], until: float, headers: Mapping[str, str]
    ) -> None:
        """Refuse this caller's requests of a class until then (monotonic): these buckets of it hold no token before.

        No earlier and no later than the database would, which is therefore not asked.
        """
        if len(self._empty) >= MOST_EMPTY:
            self._empty.clear()
        self._empty[caller, class_] = until, scopes, Refusal(RateLimited(), dict(headers))

    def close(self) -> None:
        self.age.close()

    def _overload(self, waiting: int) -> str | None:
        limits = self.limits
        if waiting >= limits.requests:
            return "requests"
        if self.database.waiting >= limits.pool_waiters:
            return "pool_waiters"
        if self.age.seconds() > limits.queue_age:
            return "queue_age"
        return None

    def _remembered(self, caller: bytes, class_: str) -> Refusal | None:
        found = self._empty.get((caller, class_))
        if found is None:
            return None
        until, scopes, refusal = found
        if until <= time.monotonic():
            self._empty.pop((caller, class_), None)
            return None
        for scope in scopes:
            REFUSED.labels(scope, class_).inc()
        return refusal


def caller(peer: str, forwarded: str, authorization: str) -> bytes:
    """Who asks: the key and where it comes from, for a key may be bound to networks; not the key itself."""
    return hashlib.sha256(f"{peer}\n{forwarded}\n{authorization}".encode()).digest()


def caller_of(environ: Mapping[str, Any]) -> bytes:
    """Who asks, of a WSGI request as it was before a proxy's headers were believed."""
    peer = environ.get("werkzeug.proxy_fix.orig", environ).get("REMOTE_ADDR") or ""
    return caller(peer, environ.get("HTTP_X_FORWARDED_FOR", ""), environ.get("HTTP_AUTHORIZATION", ""))
