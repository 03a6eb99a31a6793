"""A PaymentIntent as a Snapshot: Stripe's statuses, amounts and times in our words; reads, never decides."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.model.snapshot import Fact, NextAction, ProviderStatus, Snapshot
from app.providers.stripe.declines import CANCEL_REASON, CANCEL_REASON_OTHERWISE, failure_code, is_retryable
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

PROVIDER = "stripe"
# What our metadata on a PaymentIntent holds; Stripe copies it to the charge.
IDS = ("payment_id", "merchant_id", "operation_id")

# https://docs.stripe.com/payments/paymentintents/lifecycle; FAILED_IF_ERROR says which of them a decline turns.
STATUS = {
    "requires_payment_method": ProviderStatus.CREATED,
    "requires_confirmation": ProviderStatus.CREATED,
    "requires_action": ProviderStatus.ACTION_REQUIRED,
    "processing": ProviderStatus.PROCESSING,
    "requires_capture": ProviderStatus.CAPTURABLE,
    "succeeded": ProviderStatus.SUCCEEDED,
    "canceled": ProviderStatus.CANCELED,
}
FAILED_IF_ERROR = frozenset({"requires_payment_method", "canceled"})

# Stripe's next_action type -> our word and the key of the page that the payer has to visit.
NEXT_ACTION = {
    "redirect_to_url": ("redirect", "url"),
    "verify_with_microdeposits": ("verify_microdeposits", "hosted_verification_url"),
}
PAYER_WAS_CHALLENGED = frozenset({"payment_intent_authentication_failure"})

_FOUR_DIGITS = re.compile(r"[0-9]{4}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read_payment_intent(intent: object, *, account: str) -> Snapshot:
    """The snapshot of one PaymentIntent, its charge and balance transaction where expanded. Raises Unreadable."""
    body = object_of(intent, "payment_intent")
    stripe_status = text_of(body, "status")
    status = STATUS.get(stripe_status)
    if status is None:
        raise Unreadable(f"unknown PaymentIntent status {redact_text(stripe_status)!r}")
    error = optional(body, "last_payment_error") or {}
    if error and stripe_status in FAILED_IF_ERROR:
        status = ProviderStatus.FAILED
    failed = status is ProviderStatus.FAILED
    currency = text_of(body, "currency").lower()
    charge_ref, charge = expandable(body, "latest_charge")
    card, ids = _card_of(charge), our_ids(body)
    return Snapshot(
        provider=PROVIDER,
        account=account,
        ref=ref_of(body),
        status=status,
        currency=currency,
        amount=amount_of(body, "amount", currency),
        amount_capturable=amount_of(body, "amount_capturable", currency, default=0),
        amount_captured=amount_of(body, "amount_received", currency, default=0),
        # a declined charge authorized nothing
        amount_authorized=amount_of(charge, "amount", currency) if charge.get("status") == "succeeded" else None,
        charge_ref=charge_ref,
        method_last4=_last4(charge),
        capture_before=time_of(card, "capture_before"),
        next_action=_next_action(body) if status is ProviderStatus.ACTION_REQUIRED else None,
        action_taken=(optional(card, "three_d_secure") or {}).get("authentication_flow") == "challenge"
        or error.get("code") in PAYER_WAS_CHALLENGED,
        failure_code=failure_code(error) if failed else None,
        failure_message=_message(error) if failed else None,
        failure_retryable=failed and is_retryable(error),
        cancel_reason=_cancel_reason(body) if status is ProviderStatus.CANCELED else None,
        closed=stripe_status == "canceled",
        facts=tuple(
            read_balance_transaction(found) for found in [expandable(charge, "balance_transaction")[1]] if found
        ),
        created_at=time_of(body, "created"),
        amount_refunded=amount_of(charge, "amount_refunded", currency, default=0),
        disputed=charge.get("disputed") is True,
        payment_id=ids["payment_id"],
        merchant_id=ids["merchant_id"],
        operation_id=ids["operation_id"],
    )


def read_balance_transaction(transaction: object) -> Fact:
    """One money line; its currency may differ from the payment's. Raises Unreadable."""
    body = object_of(transaction, "balance_transaction")
    currency = text_of(body, "currency").lower()
    source_ref, _ = expandable(body, "source")
    available_on, created_at = time_of(body, "available_on"), time_of(body, "created")
    if available_on is None or created_at is None:
        raise Unreadable("a balance transaction without its times")
    status = text_of(body, "status")
    if status not in {"pending", "available"}:
        raise Unreadable(f"unknown balance transaction status {redact_text(status)!r}")
    fact = Fact(
        ref=ref_of(body),
        kind=text_of(body, "reporting_category"),
        source_ref=source_ref,
        currency=currency,
        gross=amount_of(body, "amount", currency),
        fee=amount_of(body, "fee", currency),
        net=amount_of(body, "net", currency),
        status=status,
        available_on=available_on,
        created_at=created_at,
        exchanged=body.get("exchange_rate") is not None,
    )
    if fact.net != fact.gross - fact.fee:
        raise Unreadable(f"balance transaction {fact.ref} does not add up")
    return fact


def our_ids(body: Mapping[str, object]) -> dict[str, str | None]:
    """The ids we put into the metadata, None where missing; what is no UUID is not ours, whoever wrote it there."""
    metadata = body.get("metadata")
    found = metadata if isinstance(metadata, dict) else {}
    return {
        name: value if isinstance(value := found.get(name), str) and _UUID.fullmatch(value) else None for name in IDS
    }


def our_refund_id(body: Mapping[str, object]) -> str | None:
    """The id of ours that a refund's metadata carries."""
    metadata = body.get("metadata")
    value = metadata.get("refund_id") if isinstance(metadata, dict) else None
    return value if isinstance(value, str) and _UUID.fullmatch(value) else None


def _next_action(body: Json) -> NextAction:
    action = optional(body, "next_action") or {}
    kind = action.get("type")
    if not isinstance(kind, str):
        return NextAction(type="unknown", redirect_url=None)
    ours, page = NEXT_ACTION.get(kind, (redact_text(kind)[:100], ""))
    url = (optional(action, kind) or {}).get(page)
    return NextAction(type=ours, redirect_url=url if isinstance(url, str) else None)


def _cancel_reason(body: Json) -> str:
    reason = body.get("cancellation_reason")
    return CANCEL_REASON.get(reason, CANCEL_REASON_OTHERWISE) if isinstance(reason, str) else CANCEL_REASON_OTHERWISE


def _message(error: Json) -> str | None:
    message = error.get("message")
    return redact_text(message) if isinstance(message, str) else None


def _last4(charge: Json) -> str | None:
    """Of the card or account that was charged, whatever kind it is."""
    details = optional(charge, "payment_method_details") or {}
    kind = details.get("type")
    last4 = (optional(details, kind) or {}).get("last4") if isinstance(kind, str) else None
    return last4 if isinstance(last4, str) and _FOUR_DIGITS.fullmatch(last4) else None


def _card_of(charge: Json) -> Json:
    return optional(optional(charge, "payment_method_details") or {}, "card") or {}
