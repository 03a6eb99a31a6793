"""Finds the payment an identifier means, whoever's identifier it is, and tells its story from the evidence."""

from __future__ import annotations

from uuid import UUID

from app.db.pool import Row, Tx
from app.model import public_id

# More than these are no list a person reads.
CANDIDATES = 50


def candidates(tx: Tx, text: str) -> list[Row]:
    """Every payment that `text` may mean: our ids, a provider's, an idempotency key, a merchant's reference."""
    return tx.all("trace.candidates", text=text, uuid=_uuid(text), limit=CANDIDATES)


def evidence(tx: Tx, payment: Row) -> list[Row]:
    """Every piece of evidence about the payment, once each, in time order."""
    return tx.all("trace.evidence", merchant_id=payment["merchant_id"], payment_id=payment["payment_id"])


def _uuid(text: str) -> UUID | None:
    for prefix in (public_id.PAYMENT, public_id.OPERATION, public_id.EVENT, public_id.REFUND, public_id.DISPUTE):
        if found := public_id.parse(prefix, text):
            return found
    try:
        return UUID(text)
    except ValueError:
        return None
