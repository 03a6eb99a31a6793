"""The lists that operators look through: rows of all merchants, newest first, page by page after a position."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.db.pool import Row, Tx
from app.errors import NotFound
from app.model.states import OPEN
from app.services import trace

# Where a page begins: the moment and the id of the last row before it.
Before = tuple[datetime, str] | None


def payments(tx: Tx, *, merchant_id: Any, state: str | None, before: Before, limit: int) -> list[Row]:
    """A page of payments, of one merchant and in one state if these are given."""
    wanted = {"merchant_id": merchant_id, "limit": limit} | _position(before)
    asked = "operator_pages.open_payments" if state in OPEN else "operator_pages.newest_payments"
    return tx.all(asked, state=state, **wanted)


def payments_by(tx: Tx, identifier: str) -> list[Row]:
    """Every payment that the identifier may mean, whoever's it is, with what it was recognised as."""
    found = trace.candidates(tx, identifier)
    return tx.all(
        "operator_pages.named_payments",
        merchant_ids=[row["merchant_id"] for row in found],
        payment_ids=[row["payment_id"] for row in found],
        recognised=[row["recognised"] for row in found],
    )


def webhooks(tx: Tx, *, type: str | None, provider_event_id: str | None, before: Before, limit: int) -> list[Row]:
    """A page of stored provider events, of one type and under one id of the provider's if these are given."""
    wanted = {"type": type, "limit": limit} | _position(before)
    if provider_event_id is None:
        return _webhooks(tx, tx.all("operator_pages.newest_webhooks", **wanted))
    return _webhooks(tx, tx.all("operator_pages.webhooks_of_event", provider_event_id=provider_event_id, **wanted))


def webhook(tx: Tx, webhook_id: Any) -> Row:
    """One stored provider event. Raises NotFound."""
    if webhook_id is None:
        raise NotFound()
    rows = _webhooks(tx, tx.all("operator_pages.webhook", webhook_id=webhook_id))
    if not rows:
        raise NotFound()
    return rows[0]


def _webhooks(tx: Tx, found: list[Row]) -> list[Row]:
    return tx.all(
        "operator_pages.named_webhooks",
        merchant_ids=[row["merchant_id"] for row in found],
        webhook_ids=[row["id"] for row in found],
    )


def merchants(tx: Tx, *, before: Before, limit: int) -> list[Row]:
    return tx.all("operator_pages.merchants", **_position(before), limit=limit)


def keys(tx: Tx, *, merchant_id: Any, before: Before, limit: int) -> list[Row]:
    return tx.all("operator_pages.keys", merchant_id=merchant_id, **_position(before), limit=limit)


def discrepancies(tx: Tx, *, merchant_id: Any, status: str | None, before: Before, limit: int) -> list[Row]:
    return tx.all(
        "operator_pages.discrepancies", merchant_id=merchant_id, status=status, **_position(before), limit=limit
    )


def accesses(tx: Tx, *, operator: str | None, merchant_id: Any, before: Before, limit: int) -> list[Row]:
    return tx.all("access_log.page", operator=operator, merchant_id=merchant_id, **_position(before), limit=limit)


def _position(before: Before) -> dict[str, Any]:
    at, identity = before or (None, None)
    return {"before_at": at, "before_id": identity}
