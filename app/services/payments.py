"""Creates and reads a merchant's payments; what moves them afterwards is requests.py and the workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.db import Tx
from app.db.pool import Row
from app.errors import AmountRefused, NotFound
from app.services.authentication import Caller

# The story of one payment is short; a longer one is cut at its end rather than read into memory.
TIMELINE_ROWS = 1_000

# Sort after and before every payment there can be.
_LAST = UUID(int=2**128 - 1)
_END, _BEGINNING = "infinity", "-infinity"


@dataclass(frozen=True)
class Filter:
    """Which payments to list, newest first; `before` is the last one already seen."""

    limit: int
    state: str | None = None
    reference: str | None = None
    method: str | None = None
    currency: str | None = None
    amount: int | None = None
    created_gte: datetime | None = None
    created_lt: datetime | None = None
    before: tuple[datetime, UUID] | None = None


def create(tx: Tx, caller: Caller, wanted: Mapping[str, Any], *, provider: str, account: str) -> Row:
    """A new payment in `initiated`; nobody outside is called. `wanted` is as in POST /v1/payments.

    Raises AmountRefused where the provider would refuse the amount, in minor units, or does not take the currency.
    """
    row = tx.one(
        "payments.create",
        merchant_id=caller.merchant_id,
        livemode=caller.livemode,
        provider=provider,
        account=account,
        amount=wanted["amount"],
        currency=wanted["currency"],
        method=wanted["method"]["type"],
        method_token=wanted["method"]["token"],
        capture_method=wanted["capture_method"],
        return_url=wanted["return_url"],
        reference=wanted.get("reference"),
        description=wanted.get("description"),
        statement_descriptor=wanted.get("statement_descriptor"),
        metadata=dict(wanted.get("metadata") or {}),
    )
    assert row is not None, "the query always returns one row"
    if row["minimum"] is None:
        raise _refused("/currency", f"This provider does not take {wanted['currency']}.")
    if row["id"] is None:
        steps = f" in steps of {row['multiple']}" if row["multiple"] > 1 else ""
        raise _refused("/amount", f"Must be from {row['minimum']} to {row['maximum']}{steps}, in minor units.")
    return row


def _refused(pointer: str, detail: str) -> AmountRefused:
    return AmountRefused(errors=[{"pointer": pointer, "code": AmountRefused.code, "detail": detail}])


def get(tx: Tx, caller: Caller, payment_id: UUID | None) -> Row:
    """One payment of the caller. Raises NotFound for any other, whoever's it is."""
    found = payment_id and tx.one(
        "payments.get", merchant_id=caller.merchant_id, payment_id=payment_id, livemode=caller.livemode
    )
    if not found:
        raise NotFound()
    return found


def page(tx: Tx, caller: Caller, wanted: Filter) -> list[Row]:
    """Up to `limit` payments of the caller, newest first."""
    before, before_id = wanted.before or (_END, _LAST)
    return tx.all(
        "payments.page",
        merchant_id=caller.merchant_id,
        livemode=caller.livemode,
        before=before,
        before_id=before_id,
        created_gte=wanted.created_gte or _BEGINNING,
        created_lt=wanted.created_lt or _END,
        state=wanted.state,
        reference=wanted.reference,
        method=wanted.method,
        currency=wanted.currency,
        amount=wanted.amount,
        limit=wanted.limit,
    )


def timeline(tx: Tx, caller: Caller, payment_id: UUID | None) -> list[Row]:
    """What happened to the payment, oldest first: events, operations, provider calls, webhooks. Raises NotFound."""
    payment = get(tx, caller, payment_id)
    return tx.all("payments.timeline", merchant_id=caller.merchant_id, payment_id=payment["id"], limit=TIMELINE_ROWS)
