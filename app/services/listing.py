"""Where a list of refunds or disputes goes on: newest first, after the last one seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

# Sorts after every row there can be.
_LAST = UUID(int=2**128 - 1)


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
