"""Finds the payment an identifier means, whoever's identifier it is, and tells its story from the evidence."""

from __future__ import annotations

from uuid import UUID

from app.db.pool import Row, Tx
from app.model import public_id

# More than these are no list a person reads.
CANDIDATES = 50
# What has a public id; provider calls and webhooks have none, and are the others.
KINDS = {
    "payment": public_id.PAYMENT,
    "operation": public_id.OPERATION,
    "refund": public_id.REFUND,
    "dispute": public_id.DISPUTE,
    "event": public_id.EVENT,
}


def candidates(tx: Tx, text: str) -> list[Row]:
    """Every payment that `text` may mean: our ids, a provider's, an idempotency key, a merchant's reference."""
    return tx.all("trace.candidates", text=text, limit=CANDIDATES, **ids_in(text))


def evidence(tx: Tx, payment: Row) -> list[Row]:
    """Every piece of evidence about the payment, once each, in time order."""
    return tx.all("trace.evidence", merchant_id=payment["merchant_id"], payment_id=payment["payment_id"])


def ids_in(text: str) -> dict[str, UUID | None]:
    """What `text` is the id of: one kind where its prefix says which, every kind for a bare UUID."""
    bare = _uuid(text)
    ids = {kind: public_id.parse(prefix, text) or bare for kind, prefix in KINDS.items()}
    operation, attempt, _ = text.partition(":")
    return ids | {"other": bare, "attempted": _uuid(operation) if attempt else None}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
