"""Stores a provider's money lines as they are told; what they mean in the books is for the handlers of their events."""

from __future__ import annotations

from typing import Any

from app.db import Tx
from app.db.pool import Row
from app.model.snapshot import Fact


def store(tx: Tx, payment: Row, fact: Fact, *, refund_id: Any = None, dispute_id: Any = None) -> None:
    """One line of a payment, or of one of its refunds or disputes; a line that is stored changes only its status."""
    tx.run(
        "provider_transactions.upsert",
        merchant_id=payment["merchant_id"],
        payment_id=payment["id"],
        refund_id=refund_id,
        dispute_id=dispute_id,
        provider=payment["provider"],
        account=payment["provider_account"],
        ref=fact.ref,
        kind=fact.kind,
        source_ref=fact.source_ref,
        currency=fact.currency,
        gross=fact.gross,
        fee=fact.fee,
        net=fact.net,
        status=fact.status,
        available_on=fact.available_on,
        created_at=fact.created_at,
        exchanged=fact.exchanged,
    )
