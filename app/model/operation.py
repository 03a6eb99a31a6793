"""What an operation sends, decided once when it is requested: parameters, their hash and the attempt keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

# Why somebody refunds, in our words.
REFUND_REASONS = ("requested", "duplicate", "fraudulent")


class Kind(StrEnum):
    SUBMIT = "submit"
    CAPTURE = "capture"
    CANCEL = "cancel"
    CLOSE = "close"
    REFUND = "refund"


# The step an operation of each kind begins with; submit goes on from create to confirm.
FIRST_STEP: dict[Kind, str] = {
    Kind.SUBMIT: "create",
    Kind.CAPTURE: "capture",
    Kind.CANCEL: "cancel",
    Kind.CLOSE: "close",
    Kind.REFUND: "refund",
}


def submit_params(payment: Mapping[str, Any], operation_id: str) -> dict[str, Any]:
    """Everything create and confirm send, from the payment row alone."""
    return {
        "amount": payment["amount"],
        "currency": payment["currency"],
        "method": {"type": payment["method"], "token": payment["method_token"]},
        "capture_method": payment["capture_method"],
        "return_url": payment["return_url"],
        "description": payment["description"],
        "statement_descriptor": payment["statement_descriptor"],
        "metadata": our_metadata(payment, operation_id),
    }


def capture_params(payment: Mapping[str, Any], operation_id: str, *, amount: int) -> dict[str, Any]:
    """`amount` in minor units of the payment's currency, at most what was authorized."""
    return {
        "amount_to_capture": amount,
        "currency": payment["currency"],
        "metadata": our_metadata(payment, operation_id),
    }


def cancel_params(payment: Mapping[str, Any], operation_id: str, *, reason: str) -> dict[str, Any]:
    """`reason` in our words: requested, duplicate, fraudulent, abandoned, action_expired, operator."""
    return {"reason": reason, "currency": payment["currency"], "metadata": our_metadata(payment, operation_id)}


def refund_params(
    payment: Mapping[str, Any], operation_id: str, *, refund_id: str, amount: int, reason: str
) -> dict[str, Any]:
    """`amount` in minor units of the payment's currency; `reason` in our words: requested, duplicate, fraudulent."""
    return {
        "amount": amount,
        "currency": payment["currency"],
        "reason": reason,
        "metadata": our_metadata(payment, operation_id) | {"refund_id": refund_id},
    }


def our_metadata(payment: Mapping[str, Any], operation_id: str) -> dict[str, str]:
    """What correlates a provider's object with us, however we meet it again."""
    return {
        "payment_id": str(payment["id"]),
        "merchant_id": str(payment["merchant_id"]),
        "operation_id": operation_id,
    }


def params_sha256(params: Mapping[str, Any]) -> str:
    """Hex SHA-256 over the canonical JSON of the parameters."""
    return hashlib.sha256(json.dumps(params, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def attempt_key(operation_id: str, step: str, n: int) -> str:
    """The deterministic idempotency key of one attempt."""
    return f"{operation_id}:{step}:{n}"
