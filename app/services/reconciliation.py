"""Compares the books of payments and records what does not meet; the rules are the database's (reconcile_payments)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.config import Timing
from app.db import Tx
from app.db.pool import Row


@dataclass(frozen=True)
class Compared:
    """One look: at how many payments, and what it changed."""

    payments: int = 0
    opened: int = 0
    closed: int = 0

    def __add__(self, other: Compared) -> Compared:
        return Compared(self.payments + other.payments, self.opened + other.opened, self.closed + other.closed)


def compare_due(tx: Tx, *, limit: int, timing: Timing) -> Compared:
    """Compare up to `limit` payments whose time has come; those that another transaction holds are left to the next."""
    return compare(tx, tx.all("reconcile_due.lock_due", limit=limit), timing=timing, detected_by="realtime")


def compare(tx: Tx, payments: Sequence[Row], *, timing: Timing, detected_by: str) -> Compared:
    """Compare these payments: rows of (merchant_id, payment_id) that `tx` has locked."""
    if not payments:
        return Compared()
    found = tx.one(
        "reconcile_due.compare",
        merchant_ids=[row["merchant_id"] for row in payments],
        payment_ids=[row["payment_id"] for row in payments],
        scale=timing.silence,
        detected_by=detected_by,
    )
    assert found is not None, "a comparison always answers"
    return Compared(len(payments), found["opened"], found["closed"])
