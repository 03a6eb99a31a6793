"""Owns the bounded memory of API requests received, so that tests can count calls; it is not durable."""

import threading
from collections import deque
from typing import Any

# 300 payments under faults make some 5,000 calls; old ones fall out.
MAX_REQUESTS = 50_000


class Traffic:
    """Entries are made when a request arrives and completed when it is answered, so one in progress shows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[dict[str, Any]] = deque(maxlen=MAX_REQUESTS)

    def open(self, entry: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._entries.append(entry)
        return entry

    def find(self, where: dict[str, str], limit: int) -> list[dict[str, Any]]:
        """The latest `limit` entries whose fields have these values, oldest first; `path` may end in `*`."""
        with self._lock:
            entries = list(self._entries)
        found = [entry for entry in entries if all(_fits(entry.get(name), want) for name, want in where.items())]
        return found[-limit:]


def _fits(value: Any, want: str) -> bool:
    if value is None:
        return want == ""
    text = str(value)
    return text.startswith(want[:-1]) if want.endswith("*") else text == want
