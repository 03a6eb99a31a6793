"""Shows rows as the API does: our ids, RFC 3339 times in UTC, integers in minor units; nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app.db.pool import Row
from app.model import public_id

# Which of a merchant's accounts its balance shows, and by what name.
BALANCES = {"pending": "merchant:pending", "available": "merchant:available"}


# Made once: json.dumps would make one for each answer.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def render(body: Mapping[str, Any]) -> bytes:
    """The bytes of an answer; the same body gives the same bytes."""
    return _ENCODER.encode(body).encode()


def payment(row: Row) -> dict[str, Any]:
    return {
        "id": public_id.show(public_id.PAYMENT, row["id"]),
        "object": "payment",
        "state": row["state"],
        "amount": row["amount"],
        "currency": row["currency"],
        "amount_authorized": row["amount_authorized"],
        "amount_captured": row["amount_captured"],
        "amount_refund_pending": row["amount_refund_pending"],
        "amount_refunded": row["amount_refunded"],
        "amount_disputed": row["amount_disputed"],
        "amount_lost": row["amount_lost"],
        "fee": row["fee"],
        "method": {"type": row["method"], "last4": row["method_last4"]},
        "capture_method": row["capture_method"],
        "reference": row["reference"],
        "description": row["description"],
        "next_action": _next_action(row),
        "failure": _failure(row),
        "cancel_reason": row["cancel_reason"],
        "created_at": instant(row["created_at"]),
        "submitted_at": instant(row["submitted_at"]),
        "confirmed_at": instant(row["confirmed_at"]),
        "settled_at": instant(row["settled_at"]),
        "capture_before": instant(row["capture_before"]),
        "livemode": row["livemode"],
        "metadata": row["metadata"],
        "version": row["version"],
    }


def refund(row: Row) -> dict[str, Any]:
    return {
        "id": public_id.show(public_id.REFUND, row["id"]),
        "object": "refund",
        "state": row["state"],
        "payment": public_id.show(public_id.PAYMENT, row["payment_id"]),
        "amount": row["amount"],
        "currency": row["currency"],
        "reason": row["reason"],
        "origin": row["origin"],
        "failure_reason": row["failure_reason"],
        "created_at": instant(row["created_at"]),
        "succeeded_at": instant(row["succeeded_at"]),
        "ended_at": instant(row["ended_at"]),
        "version": row["version"],
    }


def dispute(row: Row) -> dict[str, Any]:
    return {
        "id": public_id.show(public_id.DISPUTE, row["id"]),
        "object": "dispute",
        "state": row["state"],
        "payment": public_id.show(public_id.PAYMENT, row["payment_id"]),
        "amount": row["amount"],
        "amount_withdrawn": row["amount_withdrawn"],
        "currency": row["currency"],
        "reason": row["reason"],
        "provider_status": row["provider_status"],
        "disputed_at": instant(row["disputed_at"]),
        "evidence_due_at": instant(row["evidence_due_at"]),
        "created_at": instant(row["created_at"]),
        "version": row["version"],
    }


def operation(row: Row) -> dict[str, Any]:
    return {
        "id": public_id.show(public_id.OPERATION, row["id"]),
        "object": "operation",
        "kind": row["kind"],
        "status": row["status"],
        "payment": public_id.show(public_id.PAYMENT, row["payment_id"]),
        "amount": row["amount"],
        "reason": row["reason"],
        "created_at": instant(row["created_at"]),
    }


def event(row: Row) -> dict[str, Any]:
    return {
        "id": public_id.show(public_id.EVENT, row["id"]),
        "object": "event",
        "topic": row["topic"],
        "payment": public_id.show(public_id.PAYMENT, row["payment_id"]),
        "refund": public_id.show(public_id.REFUND, row["refund_id"]) if row["refund_id"] else None,
        "dispute": public_id.show(public_id.DISPUTE, row["dispute_id"]) if row["dispute_id"] else None,
        "version": row["payment_version"],
        "occurred_at": instant(row["occurred_at"]),
        "data": row["payload"],
    }


def balance(rows: Sequence[Row]) -> dict[str, Any]:
    """The books owe a merchant by credit, which is negative; the merchant sees what is owed as positive."""
    held = {
        name: [{"currency": row["currency"], "amount": -row["amount"]} for row in rows if row["code"] == code]
        for name, code in BALANCES.items()
    }
    return {"object": "balance", **held}


def balance_entry(row: Row) -> dict[str, Any]:
    """One line on one of the merchant's accounts; positive raises the balance."""
    return {
        "id": f"{public_id.show(public_id.ENTRY, row['entry_id'])}_{row['line']}",
        "object": "balance_entry",
        "balance": row["code"].removeprefix("merchant:"),
        "amount": -row["amount"],
        "currency": row["currency"],
        "kind": row["kind"],
        "payment": public_id.show(public_id.PAYMENT, row["payment_id"]) if row["payment_id"] else None,
        "created_at": instant(row["recorded_at"]),
    }


def timeline_entry(row: Row) -> dict[str, Any]:
    return {"at": instant(row["at"]), "kind": row["kind"], "what": row["what"], "detail": row["detail"]}


def listing(data: Sequence[Mapping[str, Any]], *, next_cursor: str | None) -> dict[str, Any]:
    """`next_cursor` continues after the last entry; null ends the list."""
    return {"object": "list", "data": data, "next_cursor": next_cursor}


def instant(value: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the microsecond, as `Z`."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _next_action(row: Row) -> dict[str, Any] | None:
    if row["next_action_type"] is None:
        return None
    return {"type": row["next_action_type"], "redirect_url": row["next_action_url"]}


def _failure(row: Row) -> dict[str, Any] | None:
    if row["failure_code"] is None:
        return None
    return {
        "code": row["failure_code"],
        "message": row["failure_message"],
        "retryable": bool(row["failure_retryable"]),
    }
