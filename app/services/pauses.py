"""What an operator stops by hand and lets go on: a provider, a handler, a merchant; what waits counts nothing."""

from __future__ import annotations

import time

from app.db.pool import Row, Tx
from app.errors import Invalid, NotFound

KINDS = ("provider", "handler", "merchant")
# Released in one statement, well within the five seconds that it may take; and so on for so long, while the promoter
# and whoever asks wait. The rest of a large pause is rechecked within `pause_longest`.
RELEASED_AT_ONCE = 5_000
RELEASING_SECONDS = 2.0


def pause(tx: Tx, kind: str, name: str, *, by: str, reason: str) -> Row:
    """Stop it. Raises NotFound when there is no such thing, Invalid when it is stopped already."""
    known = tx.one("pauses.exists", kind=kind, name=name)
    if known is None or not known["known"]:
        raise NotFound(f"there is no {kind} {name}")
    tx.run("transactions.because", reason=reason)
    row = tx.one("pauses.set", kind=kind, name=name, by=by, reason=reason)
    if row is None:
        raise Invalid(f"{kind} {name} is paused already")
    return row


def resume(tx: Tx, kind: str, name: str, *, reason: str) -> Row:
    """Let it go on; returns the lifted pause and how many deliveries are `released` at once. Raises Invalid."""
    tx.run("transactions.because", reason=reason)
    row = tx.one("pauses.lift", kind=kind, name=name)
    if row is None:
        raise Invalid(f"{kind} {name} is not paused")
    # who is putting off what waited has not seen that it is lifted
    for name in ("promote", "put_off"):
        tx.run("sweeps.lock", name=name)
    return row | {"released": _release(tx)}


def _release(tx: Tx) -> int:
    released, until = 0, time.monotonic() + RELEASING_SECONDS
    while True:
        found = tx.run("pauses.release", limit=RELEASED_AT_ONCE)
        released += found
        if found < RELEASED_AT_ONCE or time.monotonic() > until:
            return released


def current(tx: Tx) -> list[Row]:
    """What is stopped now, oldest first."""
    return tx.all("pauses.all")
