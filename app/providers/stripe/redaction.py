"""What of Stripe's objects may be stored: an allow-list per object type; what is unnamed is dropped."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

# Longest text kept: decline messages are a sentence, and evidence is no place for documents.
MAX_TEXT = 1_000
# A list page holds at most 100 objects; nothing else comes near.
MAX_ITEMS = 100
# PaymentIntent > charge > balance transaction, once more inside an error inside an event.
MAX_DEPTH = 10

KEEP = "keep"  # a scalar, a list of them, or an object of a type named below
OURS = {"payment_id": KEEP, "merchant_id": KEEP, "operation_id": KEEP, "refund_id": KEEP}
CARD = {
    "brand": KEEP, "last4": KEEP, "funding": KEEP, "country": KEEP, "network": KEEP, "capture_before": KEEP,
    "amount_authorized": KEEP,
    "three_d_secure": {"authentication_flow": KEEP, "result": KEEP, "result_reason": KEEP, "version": KEEP},
}  # fmt: skip
BANK = {"last4": KEEP, "bank_name": KEEP, "account_type": KEEP, "account_holder_type": KEEP}
METHOD = {"id": KEEP, "object": KEEP, "type": KEEP, "card": CARD, "us_bank_account": BANK}
ERROR = {
    "type": KEEP, "code": KEEP, "decline_code": KEEP, "advice_code": KEEP, "network_decline_code": KEEP, "param": KEEP,
    "message": KEEP, "charge": KEEP, "payment_intent": KEEP, "payment_method": KEEP, "payment_method_type": KEEP,
}  # fmt: skip

Shape = Mapping[str, object]
SHAPES: dict[str, Shape] = {
    "payment_intent": {
        "id": KEEP, "object": KEEP, "status": KEEP, "amount": KEEP, "amount_capturable": KEEP, "amount_received": KEEP,
        "currency": KEEP, "created": KEEP, "livemode": KEEP, "capture_method": KEEP, "canceled_at": KEEP,
        "cancellation_reason": KEEP, "latest_charge": KEEP, "payment_method": KEEP, "payment_method_types": KEEP,
        "allowed_payment_method_types": KEEP, "metadata": OURS, "last_payment_error": ERROR,
        "next_action": {"type": KEEP},
    },
    "charge": {
        "id": KEEP, "object": KEEP, "status": KEEP, "amount": KEEP, "amount_captured": KEEP, "amount_refunded": KEEP,
        "balance_transaction": KEEP, "captured": KEEP, "created": KEEP, "currency": KEEP, "disputed": KEEP,
        "failure_code": KEEP, "failure_message": KEEP, "livemode": KEEP, "paid": KEEP, "payment_intent": KEEP,
        "payment_method": KEEP, "refunded": KEEP, "metadata": OURS,
        "outcome": {
            "type": KEEP, "reason": KEEP, "network_status": KEEP, "network_decline_code": KEEP, "advice_code": KEEP,
            "risk_level": KEEP, "seller_message": KEEP,
        },
        "payment_method_details": {"type": KEEP, "card": CARD, "us_bank_account": BANK},
    },
    "balance_transaction": {
        "id": KEEP, "object": KEEP, "amount": KEEP, "available_on": KEEP, "created": KEEP, "currency": KEEP,
        "exchange_rate": KEEP, "fee": KEEP, "net": KEEP, "reporting_category": KEEP, "source": KEEP, "status": KEEP,
        "type": KEEP,
    },
    "refund": {
        "id": KEEP, "object": KEEP, "status": KEEP, "amount": KEEP, "currency": KEEP, "charge": KEEP, "created": KEEP,
        "payment_intent": KEEP, "reason": KEEP, "failure_reason": KEEP, "balance_transaction": KEEP,
        "failure_balance_transaction": KEEP, "pending_reason": KEEP, "metadata": OURS,
    },
    "dispute": {
        "id": KEEP, "object": KEEP, "status": KEEP, "amount": KEEP, "currency": KEEP, "charge": KEEP, "created": KEEP,
        "payment_intent": KEEP, "reason": KEEP, "is_charge_refundable": KEEP, "balance_transactions": KEEP,
        "livemode": KEEP, "metadata": OURS, "evidence_details": {"due_by": KEEP},
    },
    "payout": {
        "id": KEEP, "object": KEEP, "status": KEEP, "amount": KEEP, "currency": KEEP, "created": KEEP, "method": KEEP,
        "arrival_date": KEEP, "automatic": KEEP, "balance_transaction": KEEP, "failure_code": KEEP, "livemode": KEEP,
        "reconciliation_status": KEEP,
    },
    "payment_method": METHOD,
    "event": {
        "id": KEEP, "object": KEEP, "type": KEEP, "api_version": KEEP, "created": KEEP, "livemode": KEEP,
        "pending_webhooks": KEEP, "data": {"object": KEEP},
    },
    "list": {"object": KEEP, "has_more": KEEP, "data": KEEP},
}  # fmt: skip
# An object of a type we do not know still tells what it is.
UNKNOWN_SHAPE: Shape = {"id": KEEP, "object": KEEP}
# An error reply has no `object` of its own.
ERROR_REPLY: Shape = {"error": ERROR}
REQUEST: Shape = {
    "amount": KEEP, "currency": KEEP, "capture_method": KEEP, "payment_method": KEEP, "metadata": OURS,
    "allowed_payment_method_types": KEEP, "description": KEEP, "statement_descriptor": KEEP,
    "statement_descriptor_suffix": KEEP, "amount_to_capture": KEEP, "cancellation_reason": KEEP, "expand": KEEP,
    "created": {"gte": KEEP, "lte": KEEP}, "limit": KEEP, "starting_after": KEEP, "payment_intent": KEEP,
    "reason": KEEP,
}  # fmt: skip

_SECRETS = (
    (re.compile(r"\b([srp]k)_(live|test)_[A-Za-z0-9_*]+"), r"\1_\2_[removed]"),
    (re.compile(r"whsec_[A-Za-z0-9+/=_-]+"), "whsec_[removed]"),
    (re.compile(r"_secret_[A-Za-z0-9_-]+"), "_secret_[removed]"),
    (re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+\.[A-Za-z]{2,}"), "[email removed]"),
)
# Stripe's own ids carry a prefix, so a bare run of digits is none of them.
_NUMBER = re.compile(r"(?<![A-Za-z0-9_])\d(?:[ -]?\d){12,18}(?![A-Za-z0-9_])")
# Where none of this is, there is nothing to remove: one look at a text in place of six.
_SUSPECT = re.compile(r"[\x00\ud800-\udfff@]|_(?:live|test|secret)_|whsec_|\d(?:[ -]?\d){12}")
# PostgreSQL's jsonb takes neither.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def redact_text(text: str) -> str:
    """The text without keys, client secrets, e-mail addresses and card numbers, cut to MAX_TEXT, fit for jsonb."""
    text = text[:MAX_TEXT]
    if not _SUSPECT.search(text):
        return text
    text = _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return _NUMBER.sub(lambda found: "[number removed]" if _passes_luhn(found[0]) else found[0], text)


def redact_url(url: str) -> str:
    """Scheme, host and path: a query may carry the payer's session."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "[unreadable URL]"
    return redact_text(urlunsplit((parts.scheme, host + port, parts.path, "", "")))


def redact_reply(body: object) -> dict[str, object] | None:
    """A whole reply or event fit for storing; None when it is no JSON object."""
    if not isinstance(body, dict):
        return None
    kind = body.get("object")
    shape = SHAPES.get(kind, UNKNOWN_SHAPE) if isinstance(kind, str) else ERROR_REPLY
    return _redact_object(body, shape, 0)


def redact_request(params: Mapping[str, object]) -> dict[str, object]:
    """A request's parameters fit for storing."""
    kept = _redact_object(params, REQUEST, 0)
    if isinstance(url := params.get("return_url"), str):
        kept["return_url"] = redact_url(url)
    return kept


def _redact_object(value: Mapping[str, object], shape: Shape, depth: int) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, rule in shape.items():
        if name in value:
            ok, item = _redact(value[name], rule, depth + 1)
            if ok:
                kept[name] = item
    return kept


def _redact(value: object, rule: object, depth: int) -> tuple[bool, object]:
    """(kept?, value)."""
    if depth > MAX_DEPTH:
        return False, None
    if isinstance(rule, Mapping):
        if value is None:
            return True, None
        return (True, _redact_object(value, rule, depth)) if isinstance(value, dict) else (False, None)
    match value:
        case str():
            return True, redact_text(value)
        case None | bool() | int():
            return True, value
        case float():
            return math.isfinite(value), value
        case dict():
            kind = value.get("object")
            shape = SHAPES.get(kind, UNKNOWN_SHAPE) if isinstance(kind, str) else None
            return (False, None) if shape is None else (True, _redact_object(value, shape, depth))
        case list():
            kept = [_redact(item, KEEP, depth + 1) for item in value[:MAX_ITEMS]]
            return True, [item for ok, item in kept if ok]
    return False, None


def _passes_luhn(text: str) -> bool:
    digits = [int(digit) for digit in text if digit.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
