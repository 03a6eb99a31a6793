"""A merchant's disputes, to read; the provider decides them, and children.py applies what it says."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app.db import Tx
from app.db.pool import Row
from app.errors import NotFound
from app.services import listing
from app.services.authentication import Caller
from app.services.listing import Anyones, Filter, position


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


def find(tx: Tx, wanted: Anyones, *, limit: int) -> list[Row]:
    """Disputes of all merchants, newest first."""
    return tx.all("disputes.find", id=None, **vars(wanted), limit=limit)


def show(tx: Tx, dispute_id: UUID) -> tuple[Row, list[Row]]:
    """One dispute, whoever's it is, and its money lines. Raises NotFound."""
    row = tx.one("disputes.find", id=dispute_id, **vars(Anyones()), limit=1)
    if row is None:
        raise NotFound(f"there is no dispute {dispute_id}")
    ids = {"merchant_id": row["merchant_id"], "payment_id": row["payment_id"]}
    return row, tx.all("provider_transactions.of_child", **ids, id=dispute_id)


def newest_of(tx: Tx, caller: Caller, payments: Sequence[UUID]) -> dict[UUID, list[Row]]:
    """The newest disputes of each of these payments of the caller, a bounded number of each."""
    return listing.newest_of(tx, "disputes.newest_of", caller.merchant_id, payments)
