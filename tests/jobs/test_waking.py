"""Workers are woken after a commit, and however many commits there are, not more often than agreed."""

from __future__ import annotations

import threading
import time

from app.db import Database
from app.db.wake import Waker
from tests.fixtures.database import Clone

WAKES = 100
SECONDS = 0.2
EVERY = 0.05
# Idle for so long, a waker has said all that it will say.
SILENCE = EVERY * 4


def test_a_hundred_wishes_are_one_notification_per_interval(database: Clone, db: Database) -> None:
    listener = database.connect()
    listener.execute("listen procrastinate_any_queue_v1")
    waker, pace = Waker(db, every=EVERY), threading.Event()
    began = time.monotonic()
    for _ in range(WAKES):
        waker.wake()
        pace.wait(SECONDS / WAKES)
    took = time.monotonic() - began
    heard = list(listener.notifies(timeout=SILENCE))
    waker.close()
    assert 1 <= len(heard) <= took / EVERY + 2
    assert {notification.payload for notification in heard} == {'{"type": "job_inserted", "job_id": 0}'}
