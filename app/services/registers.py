"""Payments as people look at them: the register that compliance reads, and what is open about one payment."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.db.pool import Row, Tx
from app.errors import NotFound


def newest(tx: Tx, *, merchant_id: Any, state: str | None, since: datetime | None, limit: int) -> list[Row]:
    """Payments, newest first."""
    return tx.all("reports.register", merchant_id=merchant_id, state=state, since=since, limit=limit)


def one(tx: Tx, payment_id: Any) -> Row:
    """One payment, its operations, and its deliveries that are not done. Raises NotFound."""
    row = tx.one("reports.payment", payment_id=payment_id)
    if row is None:
        raise NotFound(f"there is no payment {payment_id}")
    ids = {"merchant_id": row["merchant_id"], "payment_id": payment_id}
    return row | {
        "operations": tx.all("reports.operations_of", **ids),
        "open_deliveries": tx.all("reports.deliveries_of", **ids),
    }
