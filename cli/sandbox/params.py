"""Owns reading request parameters: form decoding, and checking them against the SDK's own parameter trees."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from cli.sandbox.errors import StripeError, invalid, unknown_param

_DATA = json.loads((Path(__file__).parent / "params.json").read_text())
ENDPOINTS: dict[str, str] = _DATA["endpoints"]
TYPES: dict[str, dict[str, list[Any]]] = _DATA["types"]
# Known to Stripe, not served here: refused, because ignoring one would quietly move money another way.
_NOT_SERVED = (
    "amount_details amount_to_confirm application_fee_amount confirmation_token customer customer_account hooks "
    "mandate on_behalf_of payment_details payment_method_configuration payment_method_data payment_method_options "
    "radar_options setup_future_usage shipping transfer_data refund_application_fee reverse_transfer origin "
    "instructions_email client_secret intended_submission_method payout_method destination "
    "delivery_success appeal"
)
NOT_SERVED = frozenset(_NOT_SERVED.split())
# https://docs.stripe.com/api/metadata
MAX_METADATA_KEYS, MAX_METADATA_NAME, MAX_METADATA_VALUE = 50, 40, 500
MAX_DEPTH = 5
MAX_TEXT = 5000
MAX_LIST = 100


def decode(text: str) -> dict[str, Any]:
    """Form text to nested dicts and lists: `a[b]=1`, `a[]=1`, `a[0]=1`; a 400 for text that is not a form."""
    found: dict[str, Any] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise invalid("The request's parameters could not be read.") from None
    for name, value in pairs:
        head, _, rest = name.partition("[")
        path = [head, *rest[:-1].split("][")] if rest else [head]
        if len(path) > MAX_DEPTH or not head or (rest and not rest.endswith("]")):
            raise invalid(f"Invalid parameter name: {name}", param=head or None)
        _place(found, path, value, name)
    return {name: _lists(value) for name, value in found.items()}


def _place(into: dict[str, Any], path: list[str], value: str, name: str) -> None:
    for index, part in enumerate(path[:-1]):
        into = into.setdefault(str(len(into)) if not part and index else part, {})
        if not isinstance(into, dict):
            raise invalid(f"Invalid parameter: {name}", param=path[0])
    last = path[-1] or str(len(into))
    if isinstance(into.get(last), dict):
        raise invalid(f"Invalid parameter: {name}", param=path[0])
    into[last] = value


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(name.isdigit() for name in value):
        return [_lists(value[name]) for name in sorted(value, key=int)]
    return {name: _lists(inner) for name, inner in value.items()}


def check(endpoint: str, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters as typed values, or Stripe's 400 for the first one that is not right.

    `endpoint` is a key of params.json, such as `POST /v1/refunds`.
    """
    if "payment_method_types" in given and endpoint.startswith("POST /v1/payment_intents"):
        # https://docs.stripe.com/changelog/endive/2026-09-30/
        # removes-the-payment-method-types-parameter-from-payment-intents-and-setup-intents
        raise invalid(
            "payment_method_types is no longer supported: use allowed_payment_method_types, "
            "excluded_payment_method_types or dynamic payment methods.",
            code="payment_method_types_no_longer_supported",
            param="payment_method_types",
        )
    return _tree(TYPES[ENDPOINTS[endpoint]], given, "")


def _tree(tree: dict[str, list[Any]], given: dict[str, Any], prefix: str) -> dict[str, Any]:
    checked = {}
    for name, value in given.items():
        full = f"{prefix}[{name}]" if prefix else name
        if name not in tree:
            raise unknown_param(full)
        if name in NOT_SERVED:
            raise invalid(f"The Postbox sandbox does not serve the parameter {full}.", param=full)
        checked[name] = _value(tree[name], value, full)
    return checked


def _value(forms: list[Any], value: Any, name: str) -> Any:
    error: StripeError | None = None
    for form in forms:
        try:
            return _form(form, value, name)
        except StripeError as refusal:
            # Of several forms the one that has the value's shape speaks: a tree for a dict, a scalar for text.
            if error is None or isinstance(value, dict) == (isinstance(form, str) and form in TYPES):
                error = refusal
    assert error is not None
    raise error


def _form(form: Any, value: Any, name: str) -> Any:
    if isinstance(form, dict):
        return _list(form["list"], value, name) if "list" in form else _one_of(form["one_of"], value, name)
    if form in TYPES:
        if not isinstance(value, dict):
            raise invalid("Invalid object", param=name)
        return _tree(TYPES[form], value, name)
    if form == "object":
        return value
    if form == "map":
        return _metadata(value, name)
    if not isinstance(value, str):
        raise invalid(f"Invalid string: {value}", param=name)
    if form == "empty":
        if value:
            raise invalid("Invalid value", param=name)
        return ""
    if form == "int":
        if not re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII):
            raise invalid(f"Invalid integer: {value[:50]}", code="parameter_invalid_integer", param=name)
        return int(value)
    if form == "bool":
        if value not in ("true", "false"):
            raise invalid(f"Invalid boolean: {value[:50]}", param=name)
        return value == "true"
    if not value:
        raise invalid(
            f"You passed an empty string for '{name}'. Empty values are taken as a request to unset the parameter.",
            code="parameter_invalid_empty",
            param=name,
        )
    if len(value) > MAX_TEXT:
        raise invalid(f"Invalid string: at most {MAX_TEXT} characters.", param=name)
    return value


def _list(forms: list[Any], value: Any, name: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_LIST:
        raise invalid("Invalid array", param=name)
    return [_value(forms, item, f"{name}[{index}]") for index, item in enumerate(value)]


def _one_of(values: list[str], value: Any, name: str) -> str:
    if value not in values:
        raise invalid(f"Invalid {name}: must be one of {', '.join(values)}", param=name)
    return str(value)


def _metadata(value: Any, name: str) -> dict[str, str]:
    if isinstance(value, list):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict):
        raise invalid("Invalid hash", param=name)
    if len(value) > MAX_METADATA_KEYS:
        raise invalid(f"Metadata can have at most {MAX_METADATA_KEYS} keys.", param=name)
    for key, text in value.items():
        if not isinstance(text, str) or len(text) > MAX_METADATA_VALUE:
            raise invalid(f"Metadata values are at most {MAX_METADATA_VALUE} characters.", param=f"{name}[{key}]")
        if len(key) > MAX_METADATA_NAME:
            raise invalid(f"Metadata keys are at most {MAX_METADATA_NAME} characters.", param=f"{name}[{key}]")
    return value
