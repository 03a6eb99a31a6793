"""Lists of refunds and disputes, newest first: where one goes on, and the beginning of those of many payments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.db.pool import Row, Tx

# Sorts after every row there can be.
_LAST = UUID(int=2**128 - 1)


# Of what belongs to one payment, so much is told along with it: hardly any payment has more.
NEWEST = 10


@dataclass(frozen=True)
class Filter:
    """Which to list, newest first; `before` is the last one already seen."""

    limit: int
    state: str | None = None
    payment_id: UUID | None = None
    before: tuple[datetime, UUID] | None = None


@dataclass(frozen=True)
class Anyones:
    """Which refunds or disputes an operator looks at, whoever's they are, newest first."""

    merchant_id: UUID | None = None
    payment_id: UUID | None = None
    state: str | None = None


def newest_of(tx: Tx, query: str, merchant_id: UUID, payments: Sequence[UUID]) -> dict[UUID, list[Row]]:
    """The children of each payment that this query of theirs finds, up to NEWEST each, newest first."""
    found: dict[UUID, list[Row]] = {payment_id: [] for payment_id in payments}
    for row in tx.all(query, merchant_id=merchant_id, payment_ids=list(payments), limit=NEWEST):
        found[row["payment_id"]].append(row)
    return found


def position(wanted: Filter) -> dict[str, Any]:
    """The filter as the queries take it."""
    before, before_id = wanted.before or ("infinity", _LAST)
    return {
        "limit": wanted.limit,
        "state": wanted.state,
        "payment_id": wanted.payment_id,
        "before": before,
        "before_id": before_id,
    }
