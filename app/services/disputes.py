"""A merchant's disputes, to read; the provider decides them, and children.py applies what it says."""

from __future__ import annotations

from uuid import UUID

from app.db import Tx
from app.db.pool import Row
from app.errors import NotFound
from app.services.authentication import Caller
from app.services.listing import Filter, position


def get(tx: Tx, caller: Caller, dispute_id: UUID | None) -> Row:
    """One dispute of the caller. Raises NotFound for any other, whoever's it is."""
    found = dispute_id and tx.one(
        "disputes.get", merchant_id=caller.merchant_id, dispute_id=dispute_id, livemode=caller.livemode
    )
    if not found:
        raise NotFound()
    return found


def page(tx: Tx, caller: Caller, wanted: Filter) -> list[Row]:
    """Up to `limit` disputes of the caller, newest first."""
    return tx.all("disputes.page", merchant_id=caller.merchant_id, livemode=caller.livemode, **position(wanted))
