"""The exact request of each step, rebuilt only from the operation's stored parameters: pure and deterministic."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime

from app.errors import Invalid
from app.providers.protocol import ProviderRequest, Step
from app.providers.stripe.currencies import to_stripe
from app.providers.stripe.declines import CANCELLATION_REASON, REFUND_REASON
from app.providers.stripe.lists import REQUESTS as OF_ACCOUNT
from app.providers.stripe.redaction import redact_request
from app.providers.stripe.snapshots import IDS, our_ids, our_refund_id

ROOT = "/v1/payment_intents"
REFUNDS = "/v1/refunds"
DISPUTES = "/v1/disputes"
# Every reply carries the charge and its balance transaction, so that each one is a whole snapshot.
EXPAND = ["latest_charge", "latest_charge.balance_transaction"]
# A refund carries the line that took the money, and the one that brought it back; a dispute carries its own anyway.
EXPAND_REFUND = ["balance_transaction", "failure_balance_transaction"]
# https://docs.stripe.com/api/pagination: the most a page can hold.
PAGE = 100
# https://docs.stripe.com/api/idempotent_requests
MAX_KEY = 255
CAPTURE_METHOD = {"automatic": "automatic_async", "manual": "manual"}
# For cards only the suffix may be set; for the rest only the whole.
# https://docs.stripe.com/api/payment_intents/create#create_payment_intent-statement_descriptor
DESCRIPTOR = {"card": "statement_descriptor_suffix", "us_bank_account": "statement_descriptor"}

_REF = re.compile(r"[A-Za-z0-9_]{1,255}")

Operation = Mapping[str, object]
Params = dict[str, object]


def build_request(step: Step, operation: Operation, *, ref: str | None, key: str | None) -> ProviderRequest:
    """The request of `step` and what its reply must be about. Raises Invalid if the parameters do not suffice."""
    if step in OF_ACCOUNT:
        return _of_account(step, operation, ref=ref)
    method, tail, build = _STEPS[step]
    if method == "POST" and not key:
        raise Invalid(f"{step} changes something and needs an idempotency key")
    if key is not None and len(key) > MAX_KEY:
        raise Invalid(f"an idempotency key has at most {MAX_KEY} characters")
    path, params = ROOT, build(operation)
    if step not in (Step.CREATE, Step.LIST_RECENT):
        if ref is None or not _REF.fullmatch(ref):
            raise Invalid(f"{step} needs the provider's reference")
        path = OF_A_PAYMENT.get(step, f"{ROOT}/{ref}{tail}")
        if step in OF_A_PAYMENT:
            params = {"payment_intent": ref, **params}
    text = json.dumps({"method": method, "path": path, "params": params}, sort_keys=True, separators=(",", ":"))
    return ProviderRequest(
        step=step,
        method=method,
        path=path,
        params=params,
        redacted=redact_request(params),
        params_sha256=hashlib.sha256(text.encode()).hexdigest(),
        idempotency_key=key if method == "POST" else None,
        expected_ref=ref if path != ROOT else None,
        expected_metadata=_expected(step, operation),
    )


def _of_account(step: Step, asked: Operation, *, ref: str | None) -> ProviderRequest:
    path, build = OF_ACCOUNT[step]
    if "{ref}" in path:
        if ref is None or not _REF.fullmatch(ref):
            raise Invalid(f"{step} needs the provider's reference")
        path = path.format(ref=ref)
    params = build(asked)
    text = json.dumps({"method": "GET", "path": path, "params": params}, sort_keys=True, separators=(",", ":"))
    return ProviderRequest(
        step=step,
        method="GET",
        path=path,
        params=params,
        redacted=redact_request(params),
        params_sha256=hashlib.sha256(text.encode()).hexdigest(),
        expected_ref=ref,
    )


def _create(operation: Operation) -> Params:
    method = operation.get("method")
    if not isinstance(method, Mapping):
        raise Invalid("the operation has no method")
    kind = _one_of(DESCRIPTOR, method.get("type"), "method")
    currency = _text(operation, "currency").lower()
    params: Params = {
        "amount": to_stripe(_amount(operation, "amount"), currency),
        "currency": currency,
        "allowed_payment_method_types": [kind],
        "capture_method": CAPTURE_METHOD[_one_of(CAPTURE_METHOD, operation.get("capture_method"), "capture method")],
        "payment_method": _text(method, "token"),
        "metadata": dict(_ids(operation, required=True)),
        "expand": EXPAND,
    }
    if operation.get("description") is not None:
        params["description"] = _text(operation, "description")
    if operation.get("statement_descriptor") is not None:
        params[DESCRIPTOR[kind]] = _text(operation, "statement_descriptor")
    return params


def _confirm(operation: Operation) -> Params:
    params: Params = {"expand": EXPAND}
    if operation.get("return_url") is not None:
        params["return_url"] = _text(operation, "return_url")
    mandate = operation.get("mandate")
    if isinstance(mandate, Mapping):  # a bank debit needs the payer's consent: when, and from where
        online = {"ip_address": _text(mandate, "ip_address"), "user_agent": _text(mandate, "user_agent")}
        accepted_at = _unix(mandate.get("accepted_at"))
        params["mandate_data"] = {
            "customer_acceptance": {"type": "online", "accepted_at": accepted_at, "online": online}
        }
    return params


def _capture(operation: Operation) -> Params:
    if operation.get("amount_to_capture") is None:
        return {"expand": EXPAND}
    amount = to_stripe(_amount(operation, "amount_to_capture"), _text(operation, "currency"))
    return {"amount_to_capture": amount, "expand": EXPAND}


def _cancel(operation: Operation) -> Params:
    return _cancellation(operation, otherwise="requested")


def _close(operation: Operation) -> Params:
    return _cancellation(operation, otherwise="abandoned")


def _cancellation(operation: Operation, *, otherwise: str) -> Params:
    reason = _one_of(CANCELLATION_REASON, operation.get("reason") or otherwise, "cancel reason")
    return {"cancellation_reason": CANCELLATION_REASON[reason], "expand": EXPAND}


def _refund(operation: Operation) -> Params:
    reason = _one_of(REFUND_REASON, operation.get("reason"), "refund reason")
    return {
        "amount": to_stripe(_amount(operation, "amount"), _text(operation, "currency")),
        "reason": REFUND_REASON[reason],
        "metadata": _refund_ids(operation),
        "expand": EXPAND_REFUND,
    }


def _fetch(operation: Operation) -> Params:
    return {"expand": EXPAND}


def _list_refunds(operation: Operation) -> Params:
    return {**_page(operation), "expand": [f"data.{name}" for name in EXPAND_REFUND]}


def _page(operation: Operation) -> Params:
    if operation.get("starting_after") is None:
        return {"limit": PAGE}
    return {"limit": PAGE, "starting_after": _text(operation, "starting_after")}


def _list_recent(operation: Operation) -> Params:
    created: Params = {"gte": _unix(operation.get("created_after"))}
    if operation.get("created_before") is not None:
        created["lte"] = _unix(operation.get("created_before"))
    params: Params = {"created": created, "limit": PAGE, "expand": [f"data.{name}" for name in EXPAND]}
    if operation.get("starting_after") is not None:
        params["starting_after"] = _text(operation, "starting_after")
    return params


_STEPS: dict[Step, tuple[str, str, Callable[[Operation], Params]]] = {
    Step.CREATE: ("POST", "", _create),
    Step.CONFIRM: ("POST", "/confirm", _confirm),
    Step.CAPTURE: ("POST", "/capture", _capture),
    Step.CANCEL: ("POST", "/cancel", _cancel),
    Step.CLOSE: ("POST", "/cancel", _close),
    Step.REFUND: ("POST", "", _refund),
    Step.FETCH: ("GET", "", _fetch),
    Step.LIST_REFUNDS: ("GET", "", _list_refunds),
    Step.LIST_DISPUTES: ("GET", "", _page),
    Step.LIST_RECENT: ("GET", "", _list_recent),
}


# What belongs to a payment and has a place of its own: the reference goes along as a parameter.
OF_A_PAYMENT = {Step.REFUND: REFUNDS, Step.LIST_REFUNDS: REFUNDS, Step.LIST_DISPUTES: DISPUTES}


def _expected(step: Step, operation: Operation) -> dict[str, str]:
    return _refund_ids(operation) if step is Step.REFUND else _ids(operation, required=step is Step.CREATE)


def _refund_ids(operation: Operation) -> dict[str, str]:
    """The ids of a payment, and the refund's own. Raises Invalid."""
    metadata = operation.get("metadata")
    refund_id = our_refund_id({"metadata": metadata})
    if refund_id is None:
        raise Invalid("the operation's metadata must hold the UUID refund_id")
    return {**_ids(operation, required=True), "refund_id": refund_id}


def _ids(operation: Operation, *, required: bool) -> dict[str, str]:
    metadata = operation.get("metadata")
    found = metadata if isinstance(metadata, Mapping) else {}
    ids = {name: value for name, value in our_ids({"metadata": dict(found)}).items() if value is not None}
    if required and len(ids) < len(IDS):
        raise Invalid(f"the operation's metadata must hold the UUIDs {', '.join(IDS)}")
    return ids


def _text(operation: Mapping[str, object], name: str) -> str:
    value = operation.get(name)
    if not isinstance(value, str) or not value:
        raise Invalid(f"the operation has no {name}")
    return value


def _amount(operation: Operation, name: str) -> int:
    value = operation.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise Invalid(f"the operation's {name} is no positive integer")
    return value


def _one_of(table: Mapping[str, object], value: object, what: str) -> str:
    if not isinstance(value, str) or value not in table:
        raise Invalid(f"Stripe has no {what} {value!r}")
    return value


def _unix(value: object) -> int:
    """Whole seconds, rounded down, from unix seconds or an ISO 8601 time with its zone."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise Invalid("a time must be unix seconds or ISO 8601") from error
    if isinstance(value, datetime) and value.tzinfo is not None:
        return int(value.timestamp())
    raise Invalid("a time must be unix seconds or ISO 8601 with its zone")
