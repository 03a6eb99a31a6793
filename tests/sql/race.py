"""Runs a story on two connections at once: both have read before either writes, where locks allow it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.database import Clone

# Far beyond what any step takes; reached only when the product hangs.
PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.005

MINE = " where merchant_id = %(merchant_id)s and id = %(id)s"

Meet = Callable[[], None]
Story = Callable[[Connection, Meet], Any]


@pytest.fixture
def admin(database: Clone) -> Connection:
    return database.connect(admin=True)


def now(conn: Connection, p: Row) -> Row:
    row = conn.execute("select * from payments" + MINE, p).fetchone()
    assert row is not None
    return row


class Meeting:
    """Lets two go on when both have arrived, or when the other is over or waits for a lock of the first."""

    def __init__(self, watcher: Connection, pids: list[int]) -> None:
        self._watcher, self._pids = watcher, pids
        self._arrived: set[int] = set()
        self._over: set[int] = set()
        self._changed = threading.Condition()

    def meet(self, pid: int) -> None:
        (other,) = (p for p in self._pids if p != pid)
        with self._changed:
            self._arrived.add(pid)
            self._changed.notify_all()
            until = PATIENCE_SECONDS
            while not (other in self._arrived | self._over or self._is_blocked(other)):
                self._changed.wait(POLL_SECONDS)
                until -= POLL_SECONDS
                assert until > 0, "the other neither arrived nor waits for a lock"

    def leave(self, pid: int) -> None:
        with self._changed:
            self._over.add(pid)
            self._changed.notify_all()

    def _is_blocked(self, pid: int) -> bool:
        row = self._watcher.execute("select cardinality(pg_blocking_pids(%s)) > 0 as blocked", [pid]).fetchone()
        return row == {"blocked": True}


def race(database: Clone, *stories: Story, actor: str = "worker", merchant_id: object = "") -> list[Any]:
    """What each of two stories returned, or the SQLSTATE or constraint that ended its transaction."""
    first, second = stories if len(stories) == 2 else (*stories, *stories)
    connections = [database.connect(), database.connect()]
    meeting = Meeting(database.connect(admin=True), [c.info.backend_pid for c in connections])
    results: list[Any] = [None, None]

    def run(place: int, story: Story) -> None:
        conn = connections[place]
        pid = conn.info.backend_pid
        try:
            with conn.transaction():
                factories.act(conn, actor, merchant_id=str(merchant_id))
                results[place] = story(conn, lambda: meeting.meet(pid))
        except psycopg.Error as error:
            results[place] = error.diag.constraint_name or error.sqlstate
        finally:
            meeting.leave(pid)

    threads = [threading.Thread(target=run, args=(0, first)), threading.Thread(target=run, args=(1, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
