"""Owns the making of cli/sandbox/params.json from the TypedDicts under stripe/params/ of the installed SDK.

Run `python -m tests.sandbox.sdk_params` to write it again after the SDK is upgraded.
"""

import importlib
import json
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any, NotRequired

import stripe
from stripe._request_options import RequestOptions
from typing_extensions import is_typeddict

TARGET = Path(__file__).parents[2] / "cli/sandbox/params.json"
ENDPOINTS = {
    "POST /v1/payment_intents": "PaymentIntentCreateParams",
    "GET /v1/payment_intents": "PaymentIntentListParams",
    "GET /v1/payment_intents/{id}": "PaymentIntentRetrieveParams",
    "POST /v1/payment_intents/{id}/confirm": "PaymentIntentConfirmParams",
    "POST /v1/payment_intents/{id}/capture": "PaymentIntentCaptureParams",
    "POST /v1/payment_intents/{id}/cancel": "PaymentIntentCancelParams",
    "GET /v1/charges": "ChargeListParams",
    "GET /v1/charges/{id}": "ChargeRetrieveParams",
    "POST /v1/refunds": "RefundCreateParams",
    "GET /v1/refunds": "RefundListParams",
    "GET /v1/refunds/{id}": "RefundRetrieveParams",
    "POST /v1/refunds/{id}": "RefundUpdateParams",
    "POST /v1/refunds/{id}/cancel": "RefundCancelParams",
    "GET /v1/disputes": "DisputeListParams",
    "GET /v1/disputes/{id}": "DisputeRetrieveParams",
    "POST /v1/disputes/{id}": "DisputeUpdateParams",
    "POST /v1/disputes/{id}/close": "DisputeCloseParams",
    "GET /v1/balance": "BalanceRetrieveParams",
    "GET /v1/balance_transactions": "BalanceTransactionListParams",
    "GET /v1/balance_transactions/{id}": "BalanceTransactionRetrieveParams",
    "POST /v1/payouts": "PayoutCreateParams",
    "GET /v1/payouts": "PayoutListParams",
    "GET /v1/payouts/{id}": "PayoutRetrieveParams",
    "POST /v1/payouts/{id}/cancel": "PayoutCancelParams",
    "GET /v1/events": "EventListParams",
    "GET /v1/events/{id}": "EventRetrieveParams",
    "GET /v1/account": "AccountRetrieveCurrentParams",
}
# Trees of several hundred names below parameters that the sandbox refuses as a whole: their names would be noise.
_LEFT_FLAT = (
    "amount_details hooks payment_details payment_method_data payment_method_options shipping transfer_data "
    "radar_options enhanced_evidence"
)
LEFT_FLAT = frozenset(_LEFT_FLAT.split())
MAX_VALUES = 12  # a longer list of values (every payment method type there is) is left a string


def read_sdk() -> dict[str, Any]:
    """The parameter trees of every endpoint the sandbox serves, as data."""
    found: dict[str, dict[str, Any]] = {}
    for name in ENDPOINTS.values():
        _read_type(_load(name), found)
    return {"sdk": stripe.VERSION, "endpoints": ENDPOINTS, "types": dict(sorted(found.items()))}


def render() -> str:
    return json.dumps(read_sdk(), indent=1) + "\n"


def _load(name: str) -> type:
    module = "stripe.params._" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return getattr(importlib.import_module(module), name)


def _read_type(cls: type, found: dict[str, dict[str, Any]]) -> None:
    if cls.__name__ in found:
        return
    tree = found[cls.__name__] = {}
    scope = vars(sys.modules[cls.__module__])
    for name, annotation in sorted(cls.__annotations__.items()):
        if name not in RequestOptions.__annotations__:
            tree[name] = ["object"] if name in LEFT_FLAT else _forms(annotation, scope, found)


def _forms(annotation: Any, scope: dict[str, Any], found: dict[str, dict[str, Any]]) -> list[Any]:
    """Every form a value may have: int, bool, str, empty, map, a list, one of some values, or a named tree."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        parts = annotation.split("|") if "[" not in annotation else [annotation]
        if len(parts) > 1:
            return [form for part in parts for form in _forms(part, scope, found)]
        # A union of a Literal and a name cannot be evaluated as text, so its two sides are read one by one.
        cut = _cut(annotation)
        if len(cut) > 1:
            return _tidy([form for part in cut for form in _forms(part, scope, found)])
        annotation = eval(annotation, {**vars(typing), **scope})
        if isinstance(annotation, str):
            return _forms(annotation, scope, found)
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is NotRequired:
        return _forms(arguments[0], scope, found)
    if origin in (typing.Union, types.UnionType):
        return _tidy([form for part in arguments for form in _forms(part, scope, found)])
    if origin is typing.Literal:
        if arguments == ("",):
            return ["empty"]
        return [{"one_of": sorted(arguments)}] if len(arguments) <= MAX_VALUES else ["str"]
    if origin is list:
        return [{"list": _forms(arguments[0], scope, found)}]
    if origin is dict or annotation is dict:
        return ["map"]
    if is_typeddict(annotation):
        _read_type(annotation, found)
        return [annotation.__name__]
    if annotation in (int, bool, str, float):
        return [annotation.__name__]
    if "UntypedStripeObject" in str(annotation):
        return ["map"]
    raise TypeError(f"unknown annotation {annotation!r}")


def _cut(text: str) -> list[str]:
    """Split a union written as text at its outermost bars."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == "'"
        depth += (letter == "[") - (letter == "]") if not quoted else 0
        if letter == "|" and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _tidy(forms: list[Any]) -> list[Any]:
    kept = [form for index, form in enumerate(forms) if form not in forms[:index]]
    if any(isinstance(form, dict) and "one_of" in form for form in kept):
        # The SDK writes every list of values as open (`Literal[...] | str`); the server's is closed.
        kept = [form for form in kept if form != "str"]
    return kept


if __name__ == "__main__":
    TARGET.write_text(render())
