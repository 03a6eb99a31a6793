"""Reads a merchant's event feed in an order that no later commit can get ahead of."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from app.db import Tx
from app.db.pool import Row
from app.services.authentication import Caller

# Sorts before every event there can be.
_FIRST = UUID(int=0)


@dataclass(frozen=True)
class Position:
    """The last event seen; transaction ids compare only within one epoch."""

    epoch: int = 0
    xid: int = 0
    event_id: UUID = _FIRST


def feed(tx: Tx, caller: Caller, *, after: Position, topic: str | None, limit: int) -> list[Row]:
    """Up to `limit` events after this position that merchants may see.

    An event appears once every transaction that began before its own has ended: late by that much, lost never.
    """
    return tx.all(
        "events.feed",
        merchant_id=caller.merchant_id,
        livemode=caller.livemode,
        epoch=after.epoch,
        xid=str(after.xid),
        event_id=after.event_id,
        topic=topic,
        limit=limit,
    )
