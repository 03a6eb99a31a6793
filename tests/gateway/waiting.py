"""Waits for what a database or a server will do by itself, by asking again; never for a time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg

# The feed waits for the oldest transaction of the whole cluster, and another test's may take its time.
DEADLINE_SECONDS = 120


def until(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` returns once it is true. Raises AssertionError after the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
    raise AssertionError(f"waited {DEADLINE_SECONDS} s in vain for {what}")


def until_waiting(connection: psycopg.Connection[dict[str, Any]], count: int) -> None:
    """Until so many transactions of this database wait for a lock."""
    query = """
        select count(*) as n from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()
    """
    until(lambda: connection.execute(query).fetchone()["n"] >= count, f"{count} lock waits")
