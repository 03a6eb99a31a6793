"""A PaymentIntent as a Snapshot: Stripe's statuses, amounts and times in our words; reads, never decides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from app.model.snapshot import Fact, NextAction, ProviderStatus, Snapshot
from app.providers.stripe.currencies import InexactAmount, from_stripe
from app.providers.stripe.declines import CANCEL_REASON, CANCEL_REASON_OTHERWISE, failure_code, is_retryable
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

_REF = re.compile(r"[A-Za-z0-9_]{1,255}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Json = dict[str, object]


class Unreadable(ValueError):
    """The object is not of the shape or the status that this adapter knows."""


def read_payment_intent(intent: object, *, account: str) -> Snapshot:
    """The snapshot of one PaymentIntent, its charge and balance transaction where expanded. Raises Unreadable."""
    body = _object(intent, "payment_intent")
    stripe_status = _text(body, "status")
    status = STATUS.get(stripe_status)
    if status is None:
        raise Unreadable(f"unknown PaymentIntent status {redact_text(stripe_status)!r}")
    error = _optional(body, "last_payment_error") or {}
    if error and stripe_status in FAILED_IF_ERROR:
        status = ProviderStatus.FAILED
    failed = status is ProviderStatus.FAILED
    currency = _text(body, "currency").lower()
    charge_ref, charge = _expandable(body, "latest_charge")
    card = _card_of(charge)
    return Snapshot(
        provider=PROVIDER,
        account=account,
        ref=_ref(body),
        status=status,
        currency=currency,
        amount=_amount(body, "amount", currency),
        amount_capturable=_amount(body, "amount_capturable", currency, default=0),
        amount_captured=_amount(body, "amount_received", currency, default=0),
        # a declined charge authorized nothing
        amount_authorized=_amount(charge, "amount", currency) if charge.get("status") == "succeeded" else None,
        charge_ref=charge_ref,
        capture_before=_time(card, "capture_before"),
        next_action=_next_action(body) if status is ProviderStatus.ACTION_REQUIRED else None,
        action_taken=(_optional(card, "three_d_secure") or {}).get("authentication_flow") == "challenge"
        or error.get("code") in PAYER_WAS_CHALLENGED,
        failure_code=failure_code(error) if failed else None,
        failure_message=_message(error) if failed else None,
        failure_retryable=failed and is_retryable(error),
        cancel_reason=_cancel_reason(body) if status is ProviderStatus.CANCELED else None,
        closed=stripe_status == "canceled",
        facts=tuple(
            read_balance_transaction(found) for found in [_expandable(charge, "balance_transaction")[1]] if found
        ),
        created_at=_time(body, "created"),
        **our_ids(body),
    )


def read_balance_transaction(transaction: object) -> Fact:
    """One money line; its currency may differ from the payment's. Raises Unreadable."""
    body = _object(transaction, "balance_transaction")
    currency = _text(body, "currency").lower()
    source_ref, _ = _expandable(body, "source")
    available_on, created_at = _time(body, "available_on"), _time(body, "created")
    if available_on is None or created_at is None:
        raise Unreadable("a balance transaction without its times")
    status = _text(body, "status")
    if status not in {"pending", "available"}:
        raise Unreadable(f"unknown balance transaction status {redact_text(status)!r}")
    fact = Fact(
        ref=_ref(body),
        kind=_text(body, "reporting_category"),
        source_ref=source_ref,
        currency=currency,
        gross=_amount(body, "amount", currency),
        fee=_amount(body, "fee", currency),
        net=_amount(body, "net", currency),
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


def _next_action(body: Json) -> NextAction:
    action = _optional(body, "next_action") or {}
    kind = action.get("type")
    if not isinstance(kind, str):
        return NextAction(type="unknown", redirect_url=None)
    ours, page = NEXT_ACTION.get(kind, (redact_text(kind)[:100], ""))
    url = (_optional(action, kind) or {}).get(page)
    return NextAction(type=ours, redirect_url=url if isinstance(url, str) else None)


def _cancel_reason(body: Json) -> str:
    reason = body.get("cancellation_reason")
    return CANCEL_REASON.get(reason, CANCEL_REASON_OTHERWISE) if isinstance(reason, str) else CANCEL_REASON_OTHERWISE


def _message(error: Json) -> str | None:
    message = error.get("message")
    return redact_text(message) if isinstance(message, str) else None


def _card_of(charge: Json) -> Json:
    return _optional(_optional(charge, "payment_method_details") or {}, "card") or {}


def _object(value: object, kind: str) -> Json:
    if not isinstance(value, dict) or value.get("object") != kind:
        raise Unreadable(f"expected a {kind}")
    return value


def _optional(body: Json, name: str) -> Json | None:
    value = body.get(name)
    return value if isinstance(value, dict) else None


def _expandable(body: Json, name: str) -> tuple[str | None, Json]:
    """(id, object): an id alone when it was not expanded."""
    value = body.get(name)
    if isinstance(value, dict):
        return _ref(value), value
    return (value if isinstance(value, str) and _REF.fullmatch(value) else None), {}


def _ref(body: Json) -> str:
    ref = body.get("id")
    if not isinstance(ref, str) or not _REF.fullmatch(ref):
        raise Unreadable(f"a {body.get('object')} without a usable id")
    return ref


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Unreadable(f"a {body.get('object')} without {name}")
    return value


def _amount(body: Json, name: str, currency: str, *, default: int | None = None) -> int:
    value = body.get(name, default)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(f"a {body.get('object')} whose {name} is no integer")
    try:
        return from_stripe(value, currency)
    except InexactAmount as error:
        raise Unreadable(str(error)) from error


def _time(body: Json, name: str) -> datetime | None:
    value = body.get(name)
    if value is None:
        return None
    try:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("no integer")
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Unreadable(f"{name} is no time") from error
