"""Owns the payment intent and what its merchant asks for: create, confirm, capture, cancel.

The states and their steps are those of docs.stripe.com/payments/paymentintents/lifecycle.
"""

from typing import Any

from cli.sandbox.errors import StripeError, invalid, missing, missing_param, unexpected_state
from cli.sandbox.money import check_amount, check_currency
from cli.sandbox.objects.charges import book_charge
from cli.sandbox.objects.confirmations import CONFIRMABLE, check_confirm, check_type, confirm
from cli.sandbox.objects.payment_methods import find_method
from cli.sandbox.table import Row
from cli.sandbox.world import World, shown

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
    check_type(types, method)
    if params.get("confirm"):
        if method is None:
            raise missing_param("payment_method")
        check_confirm(params, method, params)
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
        return confirm(world, intent, params)
    return shown(intent)


def confirm_intent(world: World, ident: str, params: Params) -> Row:
    """POST /v1/payment_intents/{id}/confirm. A decline is a 402 that leaves `requires_payment_method` behind."""
    intent = find_intent(world, ident)
    named = params.get("payment_method") or intent["payment_method"]
    method = find_method(named) if named else None
    if intent["status"] in CONFIRMABLE:
        check_type(intent["payment_method_types"], method)
        check_confirm(params, method, {"automatic_payment_methods": {"allow_redirects": intent["_allow_redirects"]}})
    return confirm(world, intent, params)


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
