"""Stripe's refunds and disputes as snapshots: its statuses, amounts and times in our words; reads, never decides."""

from __future__ import annotations

from datetime import datetime

from app.model.snapshot import DisputeSnapshot, DisputeStatus, Fact, RefundSnapshot, RefundStatus
from app.providers.stripe.fields import (
    Json,
    Unreadable,
    amount_of,
    expandable,
    object_of,
    optional,
    ref_of,
    text_of,
    time_of,
)
from app.providers.stripe.redaction import redact_text
from app.providers.stripe.snapshots import our_ids, our_refund_id, read_balance_transaction

# https://docs.stripe.com/api/refunds/object#refund_object-status; one that is new is under way until it tells more.
REFUND_STATUS = {
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.PENDING,
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.CANCELED,
}
# https://docs.stripe.com/api/disputes/object#dispute_object-status, and the appeals of SDK 16.1.
DISPUTE_STATUS = {
    "warning_needs_response": DisputeStatus.INQUIRY,
    "warning_under_review": DisputeStatus.INQUIRY,
    "warning_closed": DisputeStatus.CLOSED,
    "needs_response": DisputeStatus.OPEN,
    "under_review": DisputeStatus.OPEN,
    "appeal_needs_response": DisputeStatus.OPEN,
    "appeal_under_review": DisputeStatus.OPEN,
    "won": DisputeStatus.WON,
    "lost": DisputeStatus.LOST,
    "prevented": DisputeStatus.CLOSED,
}
APPEALS = frozenset({"appeal_needs_response", "appeal_under_review"})


def read_refund(refund: object, *, payment_ref: str) -> RefundSnapshot:
    """One refund of this PaymentIntent, with its money lines where expanded. Raises Unreadable."""
    body = object_of(refund, "refund")
    _check_payment(body, payment_ref)
    currency, status = text_of(body, "currency").lower(), text_of(body, "status")
    failed = REFUND_STATUS.get(status) is RefundStatus.FAILED
    return RefundSnapshot(
        ref=ref_of(body),
        status=REFUND_STATUS.get(status, RefundStatus.PENDING),
        provider_status=_word(status),
        currency=currency,
        amount=amount_of(body, "amount", currency),
        created_at=_created(body),
        reason=_optional_word(body, "reason"),
        failure_reason=(_optional_word(body, "failure_reason") or "unknown") if failed else None,
        refund_id=our_refund_id(body),
        operation_id=our_ids(body)["operation_id"],
        fact=_line(body, "balance_transaction"),
        returned=_line(body, "failure_balance_transaction"),
    )


def read_dispute(dispute: object, *, payment_ref: str) -> DisputeSnapshot:
    """One dispute of this PaymentIntent with its money lines, oldest first. Raises Unreadable."""
    body = object_of(dispute, "dispute")
    _check_payment(body, payment_ref)
    currency, status = text_of(body, "currency").lower(), text_of(body, "status")
    lines = body.get("balance_transactions")
    if not isinstance(lines, list):
        raise Unreadable("a dispute without its list of balance transactions")
    facts = sorted((read_balance_transaction(line) for line in lines), key=_place)
    return DisputeSnapshot(
        ref=ref_of(body),
        status=DISPUTE_STATUS.get(status),
        provider_status=_word(status),
        currency=currency,
        amount=amount_of(body, "amount", currency),
        created_at=_created(body),
        appealed=status in APPEALS,
        reason=_optional_word(body, "reason"),
        evidence_due_at=time_of(optional(body, "evidence_details") or {}, "due_by"),
        facts=tuple(facts),
    )


def _place(line: Fact) -> tuple[datetime, bool, str]:
    """By its second; in the same one what was withdrawn before what came back, because nothing comes back otherwise."""
    return line.created_at, line.gross > 0, line.ref


def _check_payment(body: Json, payment_ref: str) -> None:
    found, _ = expandable(body, "payment_intent")
    if found != payment_ref:
        raise Unreadable(f"asked about {payment_ref}, told about {found}")


def _line(body: Json, name: str) -> Fact | None:
    ref, line = expandable(body, name)
    if ref is not None and not line:
        raise Unreadable(f"a refund whose {name} was not expanded")
    return read_balance_transaction(line) if line else None


def _created(body: Json) -> datetime:
    at = time_of(body, "created")
    if at is None:
        raise Unreadable(f"a {body.get('object')} without its time")
    return at


def _optional_word(body: Json, name: str) -> str | None:
    value = body.get(name)
    return _word(value) if isinstance(value, str) and value else None


def _word(text: str) -> str:
    return redact_text(text)[:100]
