"""What people do about discrepancies, and what they look at; who opens and closes them by rule is the reconciler."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.config import Timing
from app.db import Tx
from app.db.pool import Row
from app.errors import IllegalTransition, NotFound, SamePerson
from app.services.reconciliation import Compared, compare

_FIRST = UUID(int=0)
_LAST = "infinity"


@dataclass(frozen=True)
class Filter:
    """Which discrepancies; `every` also those that are closed."""

    every: bool = False
    type: str | None = None
    severity: str | None = None
    payment_id: UUID | None = None


@dataclass(frozen=True)
class Range:
    """Which payments a comparison by hand is about, by when they last changed."""

    since: datetime | None = None
    until: datetime | None = None
    payment_id: UUID | None = None
    provider: str | None = None

    def params(self) -> dict[str, Any]:
        return {
            "since": self.since or f"-{_LAST}",
            "until": self.until or _LAST,
            "payment_id": self.payment_id,
            "provider": self.provider,
        }


@dataclass(frozen=True)
class Place:
    """Where a walk over payments is."""

    merchant_id: UUID = _FIRST
    payment_id: UUID = _FIRST


def find(tx: Tx, wanted: Filter, *, limit: int) -> list[Row]:
    """The worst first, then the longest overdue."""
    return tx.all(
        "discrepancies.find",
        id=None,
        every=wanted.every,
        type=wanted.type,
        severity=wanted.severity,
        payment_id=wanted.payment_id,
        limit=limit,
    )


def get(tx: Tx, identity: UUID) -> Row:
    """One discrepancy, open or closed. Raises NotFound."""
    rows = tx.all("discrepancies.find", id=identity, every=True, type=None, severity=None, payment_id=None, limit=1)
    if not rows:
        raise NotFound(f"there is no discrepancy {identity}")
    return rows[0]


def history(tx: Tx, found: Row) -> list[Row]:
    """Everything that was done about it, oldest first."""
    return tx.all("discrepancies.history", merchant_id=found["merchant_id"], id=found["id"])


def acknowledge(tx: Tx, identity: UUID, *, by: str, note: str) -> Row:
    """Somebody looks after it. Raises NotFound, IllegalTransition when it is closed."""
    found = get(tx, identity)
    row = tx.one("discrepancies.acknowledge", merchant_id=found["merchant_id"], id=identity, by=by, note=note)
    return _still_open(row)


def tell_unacknowledged(tx: Tx, *, limit: int) -> int:
    """Tell of those that nobody acknowledged in time, once each; how many."""
    row = tx.one("discrepancies.tell_unacknowledged", limit=limit)
    assert row is not None, "a count always answers"
    return int(row["told"])


def resolve(tx: Tx, identity: UUID, *, by: str, code: str, note: str) -> Row:
    """A person closes it: it stays closed until its amounts change. Raises NotFound, IllegalTransition."""
    found = get(tx, identity)
    row = tx.one("discrepancies.resolve", merchant_id=found["merchant_id"], id=identity, by=by, code=code, note=note)
    return _still_open(row)


def write_off(tx: Tx, identity: UUID, *, reason: str) -> Row:
    """Ask for a write-off of what clearing holds (J11), or post what another operator asked for within a day.

    Raises NotFound, IllegalTransition when it is closed, ConstraintViolated when clearing holds nothing of it.
    """
    found = get(tx, identity)
    row = tx.one("discrepancies.write_off", merchant_id=found["merchant_id"], id=identity, reason=reason)
    assert row is not None, "a write-off is asked for or posted"
    return row


def ask_to_write_off(tx: Tx, identity: UUID, *, reason: str) -> Row:
    """The first half alone. Raises as `write_off`, and IllegalTransition where another asked: approve that."""
    row = write_off(tx, identity, reason=reason)
    if row["status"] == "written_off":
        # with this transaction what was posted is taken back
        raise IllegalTransition(f"{row['resolved_by']} asked for this within the last day: it waits to be approved.")
    return row


def approve_write_off(tx: Tx, identity: UUID, *, by: str, reason: str) -> Row:
    """The second half alone. Raises as `write_off`, SamePerson, and IllegalTransition where nobody asked for it."""
    asked_by = get(tx, identity)["write_off_asked_by"]
    if asked_by == by:
        raise SamePerson()
    row = write_off(tx, identity, reason=reason)
    if row["status"] != "written_off":
        raise IllegalTransition("Nobody has asked for this within the last day.")
    return row


def _still_open(row: Row | None) -> Row:
    if row is None:
        raise IllegalTransition("it is closed already")
    return row


def open_critical(tx: Tx) -> int:
    """How many critical ones are open."""
    row = tx.one("discrepancies.open_critical")
    assert row is not None, "a count always answers"
    return int(row["open"])


def count(tx: Tx, wanted: Range) -> int:
    """How many payments a comparison is about."""
    row = tx.one("discrepancies.count_range", **wanted.params())
    assert row is not None, "a count always answers"
    return int(row["payments"])


def page(tx: Tx, wanted: Range, after: Place, *, limit: int) -> list[Row]:
    """The next payments of a comparison, by key."""
    return tx.all(
        "discrepancies.range_page",
        **wanted.params(),
        after_merchant=after.merchant_id,
        after_payment=after.payment_id,
        limit=limit,
    )


def compare_page(tx: Tx, payments: list[Row], *, timing: Timing) -> Compared:
    """Compare these payments and record what is found; their locks are waited for."""
    return compare(tx, tx.all("discrepancies.lock_page", **_ids(payments)), timing=timing, detected_by="operator")


def preview_page(tx: Tx, payments: list[Row], *, timing: Timing) -> list[Row]:
    """What comparing these payments would open and close."""
    return tx.all("discrepancies.preview", **_ids(payments), scale=timing.silence)


def _ids(payments: list[Row]) -> dict[str, Any]:
    return {
        "merchant_ids": [row["merchant_id"] for row in payments],
        "payment_ids": [row["payment_id"] for row in payments],
    }


def days(tx: Tx, *, since: datetime, until: datetime, provider: str | None, timing: Timing) -> list[Row]:
    """By day of confirmation, provider and currency, in minor units: captured = matched + outstanding + unmatched."""
    return tx.all("discrepancies.days", since=since, until=until, provider=provider, scale=timing.silence)


def nobodys_days(tx: Tx, *, since: datetime, until: datetime, provider: str | None) -> list[Row]:
    """Sums of the provider's lines that are about no payment of ours, by their day, provider and currency."""
    return tx.all("discrepancies.nobodys_days", since=since, until=until, provider=provider)


def ages(tx: Tx) -> list[Row]:
    """How many are open by severity and age."""
    return tx.all("discrepancies.ages")


def proofs(tx: Tx, *, since: datetime, until: datetime) -> list[Row]:
    """The last proof of each account's balance in this time."""
    return tx.all("reconciliation_runs.proofs", since=since, until=until)


def balance_of_lines(tx: Tx, *, until: datetime) -> list[Row]:
    """By provider account and currency: the sum of its stored lines dated before `until`, and what our books hold."""
    return tx.all("reconciliation_runs.balance_of_lines", until=until)


def payout(tx: Tx, ref: str) -> tuple[Row, list[Row]]:
    """One payout and its lines by kind. Raises NotFound."""
    found = tx.one("discrepancies.payout", ref=ref)
    if found is None:
        raise NotFound(f"there is no payout {ref}")
    return found, tx.all("discrepancies.payout_lines", ref=ref)
