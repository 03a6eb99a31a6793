"""Owns what a confirmation leads to: a challenge, a charge, a bank debit under way, a decline.

It works on an intent that was found, and must not decide which endpoint may ask for it
(docs.stripe.com/payments/paymentintents/lifecycle).
"""

from typing import Any

from cli.sandbox.errors import StripeError, invalid, missing_param, unexpected_state
from cli.sandbox.objects.charges import book_charge, make_charge
from cli.sandbox.objects.payment_methods import MESSAGES, Method, find_method, render_method
from cli.sandbox.table import Row
from cli.sandbox.world import World, shown

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
Params = dict[str, Any]


def check_type(types: list[str], method: Method | None) -> None:
    """Refuse a method of a type that the intent does not accept."""
    if method and method.type not in types:
        raise invalid(
            f"The PaymentMethod provided ({method.type}) is not allowed for this PaymentIntent. "
            f"It accepts: {', '.join(types)}.",
            param="payment_method",
        )


def check_confirm(params: Params, method: Method | None, intent: Params) -> None:
    """Refuse a confirmation that lacks what its method may need: where to return to, a mandate."""
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


def confirm(world: World, intent: Row, params: Params) -> Row:
    """Charge the method, or ask its owner first. A decline is a 402 that leaves `requires_payment_method` behind."""
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


def authenticate(world: World, intent: Row, succeeded: bool) -> Row:
    """What the payer does on the 3-D Secure page; a decline after it leaves no error to the payer's browser."""
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
    intent = world.tables["payment_intent"].rows[ident]
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


def take_word_back(world: World, intent: Row) -> Row:
    """The bank no longer stands by its authorization: the charge fails, and the intent wants another method."""
    if intent["status"] != "requires_capture":
        raise ValueError(f"the payment intent is {intent['status']}, and holds nothing")
    method = find_method(intent["payment_method"])
    charge = world.tables["charge"].rows[intent["latest_charge"]]
    charge.update(status="failed", paid=False, captured=False)
    charge["failure_code"] = "card_declined"
    charge["failure_message"] = MESSAGES["generic_decline"]
    charge["payment_method_details"]["card"].pop("capture_before", None)
    world.put(charge)
    world.emit("charge.failed", charge)
    intent["amount_capturable"] = 0
    error = {"charge": charge["id"], "code": "card_declined", "decline_code": "generic_decline", "type": "card_error"}
    _fail(world, intent, method, {**error, "message": MESSAGES["generic_decline"]})
    return shown(intent)


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
