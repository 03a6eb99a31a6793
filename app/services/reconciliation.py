"""Compares the books of payments and records what does not meet; the rules are the database's (reconcile_payments)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.config import Timing
from app.db import Tx
from app.db.pool import Row

# Sorts before every key there can be.
_FIRST = UUID(int=0)


@dataclass(frozen=True)
class Compared:
    """One comparison: of how many payments, and what it changed."""

    payments: int = 0
    opened: int = 0
    closed: int = 0

    def __add__(self, other: Compared) -> Compared:
        return Compared(self.payments + other.payments, self.opened + other.opened, self.closed + other.closed)


def lock_due(tx: Tx, *, limit: int, since: datetime | None = None) -> list[Row]:
    """Lock up to `limit` payments whose time to be compared has come, `since` then if told.

    Those that another transaction holds are left to the next.
    """
    return tx.all("reconcile_due.lock_due", limit=limit, since=since)


def put_off(tx: Tx, payment: Row, *, seconds: float) -> None:
    """Let a payment that cannot be compared stand in nobody's way for so long."""
    ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["payment_id"]}
    tx.run("reconcile_due.put_off", **ids, seconds=seconds)


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


def compare_night(
    tx: Tx, at: Mapping[str, Any], *, limit: int, most: int, back: float, timing: Timing
) -> tuple[Row | None, Compared]:
    """Read the next page after `at`, and compare what is amiss in it: at most `most`, under their locks.

    Returns the page (`payments` read, where it ends, `is_last`), None where none is left, and what comparing changed.
    """
    page = tx.one("reconciliation_runs.night_page", **at, limit=limit, most=most, back=back, scale=timing.silence)
    if page is None:
        return None, Compared()
    amiss = {name: page[name] for name in ("merchant_ids", "payment_ids")}
    locked = tx.all("reconciliation_runs.lock_amiss", **amiss) if page["payment_ids"] else []
    return page, compare(tx, locked, timing=timing, detected_by="daily")


@dataclass(frozen=True)
class LedgerPlace:
    """Where a walk over the books is: entries first, each zero in itself, then the accounts of merchants."""

    part: str = "entries"
    merchant_id: UUID = _FIRST
    id: UUID = _FIRST

    def following(self, page: Row) -> LedgerPlace | None:
        """Where the walk goes on after a page; None at its end."""
        if page["id"] is not None:
            return LedgerPlace(self.part, page["merchant_id"], page["id"])
        return LedgerPlace("accounts") if self.part == "entries" else None


def compare_ledger(tx: Tx, at: LedgerPlace, *, limit: int, detected_by: str) -> tuple[int, LedgerPlace | None]:
    """Compare a page of the books with itself: how many imbalances were opened, and where the next page begins."""
    page = tx.one("reconciliation_runs.ledger_page", **vars(at), limit=limit, detected_by=detected_by)
    assert page is not None, "a page always answers"
    return page["opened"], at.following(page)


def preview_ledger(tx: Tx, at: LedgerPlace, *, limit: int) -> tuple[list[Row], LedgerPlace | None]:
    """What the same page would open, and where the next one begins."""
    page = tx.one("reconciliation_runs.preview_ledger_page", **vars(at), limit=limit)
    assert page is not None, "a page always answers"
    return page["plan"], at.following(page)
