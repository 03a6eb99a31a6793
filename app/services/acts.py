"""Writes an operator's act to the audit; what a trigger audits by itself does not come through here."""

from __future__ import annotations

from typing import Any

from app.config import PLATFORM_MERCHANT_ID
from app.db.pool import Tx


def record(
    tx: Tx,
    action: str,
    entity_type: str,
    entity_id: str,
    body: dict[str, Any],
    *,
    reason: str | None = None,
    merchant_id: object = PLATFORM_MERCHANT_ID,
    payment_id: object = None,
) -> None:
    """One audit entry under the transaction's actor; `merchant_id` is whose audit it belongs to."""
    tx.one(
        "acts.record",
        merchant_id=merchant_id,
        action=action,
        entity_type=entity_type,
        entity_id=entity_id,
        payment_id=payment_id,
        body=body,
        reason=reason,
    )
