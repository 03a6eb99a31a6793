"""Checks passwords outside of any transaction, and few at once: each costs 19 MiB and 20 ms of a core on purpose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import Busy
from app.model.password import check_password, hash_password, is_outdated

# More would let strangers who type passwords take the whole machine from those who pay.
AT_ONCE = 2
WAIT_SECONDS = 2.0

_turns = threading.BoundedSemaphore(AT_ONCE)


def verify(hashed: str, password: str) -> str | None:
    """The hash to keep when the password is right, made anew if its parameters are old; else None. Raises Busy."""
    with _turn():
        if not check_password(hashed, password):
            return None
        return hash_password(password) if is_outdated(hashed) else hashed


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=WAIT_SECONDS):
        raise Busy()
    try:
        yield
    finally:
        _turns.release()
