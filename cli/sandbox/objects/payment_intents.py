"""Owns the payment intent's life: create, confirm, capture, cancel, authenticate.

The states and their steps are those of docs.stripe.com/payments/paymentintents/lifecycle.
"""

from typing import Any

from cli.sandbox.errors import StripeError, invalid, missing, missing_param, unexpected_state
from cli.sandbox.money import check_amount, check_currency
from cli.sandbox.objects.charges import book_charge, make_charge
from cli.sandbox.objects.payment_methods import MESSAGES, Method, find_method, render_method
from cli.sandbox.table import Row
from cli.sandbox.world import World, shown

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = ("requires_payment_method", "requires_confirmation", "requires_action", "requires_capture")
Params = dict[str, Any]


def create_intent(world: World, _ident: str, params: Params) -> Row:
    """POST /v1/payment_intents; `amount` in minor units."""
    for name in ("amount", "currency"):
        if name not in params:
            raise missing_param(name)
    currency = check_currency(params["currency"])
    check_amount(params["amount"], currency)
    method = find_method(params["payment_method"]) if "payment_method" in params else None
    types = _types(params, currency)
    _check_type(types, method)
    if params.get("confirm"):
        if method is None:
            raise missing_param("payment_method")
        _check_confirm(params, method, params)
    elif "return_url" in params or "off_session" in params or "mandate_data" in params:
        name = next(name for name in ("return_url", "off_session", "mandate_data") if name in params)
        raise invalid(f"You can only set `{name}` if you also pass `confirm=true`.", param=name)
    now = int(world.now())
    ident = world.new_id("pi")
    metadata = params.get("metadata") or {}
    intent = world.put(
        {
            "id": ident,
            "object": "payment_intent",
            "allowed_payment_method_types": params.get("allowed_payment_method_types"),
            "amount": params["amount"],
            "amount_capturable": 0,
            "amount_details": {"tip": {}},
            "amount_received": 0,
            "application": None,
            "application_fee_amount": None,
            "automatic_payment_methods": _automatic(params),
            "canceled_at": None,
            "cancellation_reason": None,
            "capture_method": params.get("capture_method", "automatic_async"),
            "client_secret": world.new_id(f"{ident}_secret"),
            "confirmation_method": params.get("confirmation_method", "automatic"),
            "created": now,
            "currency": currency,
            "customer": None,
            "customer_account": None,
            "description": params.get("description"),
            "excluded_payment_method_types": params.get("excluded_payment_method_types"),
            "last_payment_error": None,
            "latest_charge": None,
            "livemode": False,
            "metadata": metadata,
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": method.id if method else None,
            "payment_method_configuration_details": None,
            "payment_method_options": {"card": {"request_three_d_secure": "automatic"}} if "card" in types else {},
            "payment_method_types": types,
            "processing": None,
            "receipt_email": params.get("receipt_email"),
            "review": None,
            "setup_future_usage": None,
            "shipping": None,
            "statement_descriptor": params.get("statement_descriptor"),
            "statement_descriptor_suffix": params.get("statement_descriptor_suffix"),
            "status": "requires_confirmation" if method else "requires_payment_method",
            "transfer_data": None,
            "transfer_group": params.get("transfer_group"),
            "_payment_id": metadata.get("payment_id"),
            "_allow_redirects": (params.get("automatic_payment_methods") or {}).get("allow_redirects", "always"),
            "_return_url": None,
            "_challenged": False,
        }
    )
    world.emit("payment_intent.created", intent)
    if params.get("confirm"):
        return _confirm(world, intent, params)
    return shown(intent)


def confirm_intent(world: World, ident: str, params: Params) -> Row:
    """POST /v1/payment_intents/{id}/confirm. A decline is a 402 that leaves `requires_payment_method` behind."""
    intent = find_intent(world, ident)
    named = params.get("payment_method") or intent["payment_method"]
    method = find_method(named) if named else None
    if intent["status"] in CONFIRMABLE:
        _check_type(intent["payment_method_types"], method)
        _check_confirm(params, method, {"automatic_payment_methods": {"allow_redirects": intent["_allow_redirects"]}})
    return _confirm(world, intent, params)


def _confirm(world: World, intent: Row, params: Params) -> Row:
    if intent["status"] not in CONFIRMABLE:
        raise unexpected_state(
            f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}.",
            shown(intent),
        )
    named = params.get("payment_method") or intent["payment_method"]
    if not named:
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it's missing a payment method. "
            "Pass `payment_method` when you confirm.",
            shown(intent),
        )
    method = find_method(named)
    intent["payment_method"] = method.id
    intent["next_action"] = None
    intent["_challenged"] = False
    for name in ("capture_method", "receipt_email"):
        if name in params:
            intent[name] = params[name]
    if params.get("return_url"):
        intent["_return_url"] = params["return_url"]
    if method.authenticate:
        if params.get("off_session") or params.get("error_on_requires_action"):
            refusal = Method(
                method.id, last4=method.last4, decline=("authentication_required", "authentication_required")
            )
            return _decline(world, intent, refusal)
        url = f"{world.base_url}/_sandbox/3ds/{intent['id']}"
        intent["status"] = "requires_action"
        intent["last_payment_error"] = None
        intent["next_action"] = {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": intent["_return_url"], "url": url},
        }
        world.put(intent)
        world.emit("payment_intent.requires_action", intent)
        return shown(intent)
    return _charge(world, intent, method)


def authenticate(world: World, ident: str, succeeded: bool) -> Row:
    """What the payer does on the 3-D Secure page; a decline after it leaves no error to the payer's browser."""
    intent = find_intent(world, ident)
    if intent["status"] != "requires_action":
        raise unexpected_state(
            f"Nothing to authenticate: the PaymentIntent has a status of {intent['status']}.", shown(intent)
        )
    method = find_method(intent["payment_method"])
    intent["next_action"] = None
    if not succeeded:
        _fail(
            world,
            intent,
            method,
            {
                "code": "payment_intent_authentication_failure",
                "doc_url": "https://stripe.com/docs/error-codes/payment-intent-authentication-failure",
                "message": "The payer could not be authenticated. Provide a new payment method to try again.",
                "type": "invalid_request_error",
            },
        )
        return shown(intent)
    intent["_challenged"] = True
    try:
        return _charge(world, intent, method)
    except StripeError:
        return shown(intent)


def _charge(world: World, intent: Row, method: Method) -> Row:
    if method.type == "us_bank_account":
        return _debit(world, intent, method)
    if method.decline:
        return _decline(world, intent, method)
    manual = intent["capture_method"] == "manual"
    charge = make_charge(world, intent, method, "succeeded", captured=not manual)
    intent["latest_charge"] = charge["id"]
    intent["last_payment_error"] = None
    if manual:
        intent["status"] = "requires_capture"
        intent["amount_capturable"] = intent["amount"]
        world.put(intent)
        world.schedule("expire", intent["id"], world.timing.authorization_for)
        world.emit("charge.succeeded", charge)
        world.emit("payment_intent.amount_capturable_updated", intent)
        return shown(intent)
    intent["status"] = "succeeded"
    intent["amount_received"] = intent["amount"]
    world.put(intent)
    if intent["capture_method"] == "automatic":
        book_charge(world, charge, method)
    else:
        world.schedule("fill", charge["id"], world.timing.balance_after)
    world.emit("charge.succeeded", charge)
    world.emit("payment_intent.succeeded", intent)
    if method.dispute:
        world.schedule("dispute", charge["id"], world.timing.dispute_after)
    return shown(intent)


def _debit(world: World, intent: Row, method: Method) -> Row:
    charge = make_charge(world, intent, method, "pending", captured=True)
    intent["latest_charge"] = charge["id"]
    intent["last_payment_error"] = None
    intent["status"] = "processing"
    world.put(intent)
    world.emit("charge.pending", charge)
    world.emit("payment_intent.processing", intent)
    if method.bank != "processing":
        world.schedule("debit", intent["id"], world.timing.bank_after)
    return shown(intent)


def finish_debit(world: World, ident: str) -> None:
    """A bank debit ends: it succeeds, or fails with the bank's reason (docs.stripe.com/payments/ach-direct-debit)."""
    intent = find_intent(world, ident)
    if intent["status"] != "processing":
        return
    method = find_method(intent["payment_method"])
    charge = world.tables["charge"].rows[intent["latest_charge"]]
    if method.bank == "succeeded":
        charge["status"] = "succeeded"
        charge["amount_captured"] = charge["amount"]
        intent["status"] = "succeeded"
        intent["amount_received"] = intent["amount"]
        world.put(intent)
        book_charge(world, charge, method)
        world.emit("charge.succeeded", charge)
        world.emit("payment_intent.succeeded", intent)
        if method.dispute:
            world.schedule("dispute", charge["id"], world.timing.dispute_after)
        return
    charge.update(status="failed", paid=False, captured=False)
    charge["failure_code"] = method.bank
    charge["failure_message"] = MESSAGES[method.bank]
    world.put(charge)
    world.emit("charge.failed", charge)
    error = {"charge": charge["id"], "code": method.bank, "message": MESSAGES[method.bank]}
    _fail(world, intent, method, {**error, "type": "invalid_request_error"})


def _decline(world: World, intent: Row, method: Method) -> Row:
    assert method.decline is not None
    code, decline_code = method.decline
    charge = make_charge(world, intent, method, "failed", captured=False)
    intent["latest_charge"] = charge["id"]
    world.emit("charge.failed", charge)
    error = StripeError(
        402,
        "card_error",
        MESSAGES[decline_code],
        code=code,
        saved=True,
        advice_code=charge["outcome"]["advice_code"],
        charge=charge["id"],
        decline_code=decline_code,
    )
    _fail(world, intent, method, dict(error.body))
    error.body["payment_intent"] = shown(intent)
    error.body["payment_method"] = render_method(method, intent["created"])
    raise error


def _fail(world: World, intent: Row, method: Method, error: Row) -> None:
    intent["status"] = "requires_payment_method"
    intent["payment_method"] = None
    error["payment_method"] = render_method(method, intent["created"])
    intent["last_payment_error"] = error
    world.put(intent)
    world.emit("payment_intent.payment_failed", intent)


def capture_intent(world: World, ident: str, params: Params) -> Row:
    """POST /v1/payment_intents/{id}/capture; `amount_to_capture` in minor units, the rest is released.

    One charge, one balance transaction of what was captured, no refund (changelog basil 2025-03-31).
    """
    intent = find_intent(world, ident)
    if params.get("final_capture") is False:
        raise invalid("Multicapture is not available for this PaymentIntent.", param="final_capture")
    if intent["status"] != "requires_capture":
        charge = world.get("charge", intent["latest_charge"] or "")
        if intent["status"] == "canceled" and intent["cancellation_reason"] == "expired" and charge:
            raise StripeError(
                400,
                "invalid_request_error",
                "The charge cannot be captured: its authorization has expired.",
                code="charge_expired_for_capture",
                saved=True,
                charge=charge["id"],
                payment_intent=shown(intent),
            )
        raise unexpected_state(
            f"This PaymentIntent could not be captured because it has a status of {intent['status']}. "
            "Only a PaymentIntent with the status requires_capture can be captured.",
            shown(intent),
        )
    amount = params["amount_to_capture"] if "amount_to_capture" in params else intent["amount_capturable"]
    if amount < 1:
        raise invalid(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param="amount_to_capture",
        )
    if amount > intent["amount_capturable"]:
        raise invalid(
            f"The amount to capture ({amount}) is greater than the amount that can be captured "
            f"({intent['amount_capturable']}).",
            code="amount_too_large",
            param="amount_to_capture",
        )
    method = find_method(intent["payment_method"])
    charge = world.tables["charge"].rows[intent["latest_charge"]]
    charge["captured"] = True
    charge["amount_captured"] = amount
    charge["payment_method_details"]["card"].pop("capture_before", None)
    book_charge(world, charge, method)
    if "metadata" in params:
        merge_metadata(intent, params["metadata"])
    intent["status"] = "succeeded"
    intent["amount_capturable"] = 0
    intent["amount_received"] = amount
    world.put(intent)
    world.emit("charge.captured", charge)
    world.emit("payment_intent.succeeded", intent)
    if method.dispute:
        world.schedule("dispute", charge["id"], world.timing.dispute_after)
    return shown(intent)


def cancel_intent(world: World, ident: str, params: Params) -> Row:
    """POST /v1/payment_intents/{id}/cancel; a held authorization is released, and no refund is made."""
    intent = find_intent(world, ident)
    if intent["status"] not in CANCELABLE:
        raise unexpected_state(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. "
            f"Only a PaymentIntent with one of these statuses can be canceled: {', '.join(CANCELABLE)}.",
            shown(intent),
        )
    _cancel(world, intent, params.get("cancellation_reason"))
    return shown(intent)


def expire_authorization(world: World, ident: str) -> None:
    """The hold on the card ends: `charge.expired`, and the intent is canceled with the reason `expired`."""
    intent = find_intent(world, ident)
    if intent["status"] != "requires_capture":
        return
    charge = world.tables["charge"].rows[intent["latest_charge"]]
    world.emit("charge.expired", charge)
    _cancel(world, intent, "expired")


def _cancel(world: World, intent: Row, reason: str | None) -> None:
    intent["status"] = "canceled"
    intent["canceled_at"] = int(world.now())
    intent["cancellation_reason"] = reason
    intent["amount_capturable"] = 0
    intent["next_action"] = None
    world.put(intent)
    world.emit("payment_intent.canceled", intent)


def find_intent(world: World, ident: str) -> Row:
    intent = world.get("payment_intent", ident)
    if intent is None:
        raise missing("payment_intent", ident, "intent")
    return intent


def merge_metadata(row: Row, given: Any) -> None:
    """Update metadata as Stripe does: an empty value removes its key, an empty string removes them all."""
    if given == "":
        row["metadata"] = {}
        return
    merged = {**row["metadata"], **given}
    row["metadata"] = {name: value for name, value in merged.items() if value != ""}


def _types(params: Params, currency: str) -> list[str]:
    usable = ["card", "us_bank_account"] if currency == "usd" else ["card"]
    allowed = params.get("allowed_payment_method_types")
    if allowed is not None:
        for name in ("automatic_payment_methods", "excluded_payment_method_types"):
            if name in params:
                raise invalid(
                    f"You may only specify one of these parameters: allowed_payment_method_types, {name}.",
                    param=name,
                )
        usable = [name for name in usable if name in allowed]
    excluded = params.get("excluded_payment_method_types") or ()
    usable = [name for name in usable if name not in excluded]
    if not usable:
        raise invalid(
            "No valid payment method types for this PaymentIntent. Check the currency and the allowed types.",
            param="allowed_payment_method_types",
        )
    return usable


def _automatic(params: Params) -> Row | None:
    given = params.get("automatic_payment_methods")
    if params.get("allowed_payment_method_types") is not None or (given and not given.get("enabled")):
        return None
    return {"allow_redirects": (given or {}).get("allow_redirects", "always"), "enabled": True}


def _check_type(types: list[str], method: Method | None) -> None:
    if method and method.type not in types:
        raise invalid(
            f"The PaymentMethod provided ({method.type}) is not allowed for this PaymentIntent. "
            f"It accepts: {', '.join(types)}.",
            param="payment_method",
        )


def _check_confirm(params: Params, method: Method | None, intent: Params) -> None:
    redirects = (intent.get("automatic_payment_methods") or {}).get("allow_redirects", "always")
    if not params.get("return_url") and not params.get("off_session") and redirects != "never":
        raise invalid(
            "This PaymentIntent may redirect your customer off of your page, so you must provide a `return_url`. "
            "To accept no payment method that redirects, set `automatic_payment_methods[allow_redirects]` to never.",
            param="return_url",
        )
    if params.get("error_on_requires_action") and params.get("off_session"):
        raise invalid("Pass only one of error_on_requires_action and off_session.", param="off_session")
    if method and method.type == "us_bank_account" and "mandate_data" not in params:
        raise missing_param("mandate_data")
