"""Owns charges: one attempt to take money for a payment intent, and its capture; never the intent's status."""

from typing import Any

from cli.sandbox.money import fee_of
from cli.sandbox.objects.balance import book
from cli.sandbox.objects.payment_methods import MESSAGES, Method, blank_billing
from cli.sandbox.table import Row
from cli.sandbox.world import World

# What the charge says about a payer who completed the 3-D Secure page (stripe/_charge.py: ThreeDSecure).
CHALLENGED = {
    "authentication_flow": "challenge",
    "electronic_commerce_indicator": "05",
    "exemption_indicator": None,
    "result": "authenticated",
    "result_reason": None,
    "transaction_id": None,
    "version": "2.2.0",
}


def make_charge(world: World, intent: Row, method: Method, status: str, captured: bool) -> Row:
    """Create the charge of a confirm: succeeded, failed or pending (https://docs.stripe.com/api/charges/object)."""
    now = int(world.now())
    failed = status == "failed"
    code, decline_code = method.decline if failed and method.decline else (None, None)
    capture_before = None
    if status == "succeeded" and not captured:
        capture_before = int(world.now() + world.timing.authorization_for)
    ident = world.new_id("ch" if method.type == "card" else "py")
    return world.put(
        {
            "id": ident,
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if captured and status == "succeeded" else 0,
            "amount_refunded": 0,
            "application": None,
            "application_fee": None,
            "application_fee_amount": None,
            "balance_transaction": None,
            "billing_details": blank_billing(),
            "calculated_statement_descriptor": "POSTBOX SANDBOX",
            "captured": captured,
            "created": now,
            "currency": intent["currency"],
            "customer": None,
            "description": intent["description"],
            "disputed": False,
            "failure_balance_transaction": None,
            "failure_code": code,
            "failure_message": MESSAGES[decline_code] if decline_code else None,
            "fraud_details": {},
            "livemode": False,
            "metadata": dict(intent["metadata"]),
            "on_behalf_of": None,
            "outcome": _outcome(status, decline_code),
            "paid": not failed,
            "payment_intent": intent["id"],
            "payment_method": method.id,
            "payment_method_details": _details(method, intent, capture_before, failed),
            "radar_options": {},
            "receipt_email": intent["receipt_email"],
            "receipt_number": None,
            "receipt_url": None,
            "refunded": False,
            "review": None,
            "shipping": None,
            "source_transfer": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
            "status": status,
            "transfer_data": None,
            "transfer_group": intent["transfer_group"],
            "_dispute_open": False,
        }
    )


def _outcome(status: str, decline_code: str | None) -> Row:
    failed = status == "failed"
    return {
        "advice_code": "try_again_later" if decline_code in ("insufficient_funds", "processing_error") else None,
        "network_advice_code": None,
        "network_decline_code": "05" if failed else None,
        "network_status": "declined_by_network" if failed else "approved_by_network",
        "reason": decline_code,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "The bank declined the payment." if failed else "Payment complete.",
        "type": "issuer_declined" if failed else "authorized",
    }


def _details(method: Method, intent: Row, capture_before: int | None, failed: bool) -> Row:
    if method.type != "card":
        bank: dict[str, Any] = {
            "account_holder_type": "individual",
            "account_type": "checking",
            "bank_name": "STRIPE TEST BANK",
            "fingerprint": "fp_" + method.last4,
            "last4": method.last4,
            "payment_reference": None,
            "routing_number": "110000000",
        }
        return {"type": method.type, method.type: bank}
    card: dict[str, Any] = {
        "amount_authorized": None if failed else intent["amount"],
        "authorization_code": None if failed else "123456",
        "brand": method.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": "fp_" + method.last4,
        "funding": method.funding,
        "installments": None,
        "last4": method.last4,
        "mandate": None,
        "network": method.brand,
        "network_token": {"used": False},
        "network_transaction_id": None,
        "regulated_status": "unregulated",
        "three_d_secure": CHALLENGED if intent.get("_challenged") else None,
        "wallet": None,
    }
    if capture_before is not None:
        card["capture_before"] = capture_before
    return {"type": "card", "card": card}


def book_charge(world: World, charge: Row, method: Method) -> None:
    """Write the charge's one balance transaction, of what was captured."""
    amount = charge["amount_captured"]
    row = book(
        world,
        "charge" if method.type == "card" else "payment",
        charge["id"],
        amount,
        charge["currency"],
        fee=fee_of(amount, charge["currency"], method.type),
        description=charge["description"],
        at_once=method.available_at_once,
    )
    charge["balance_transaction"] = row["id"]
    world.put(charge)


def fill_balance_transaction(world: World, ident: str, method: Method) -> None:
    """What asynchronous capture does a moment later: the balance transaction, told by `charge.updated`.

    https://docs.stripe.com/payments/payment-intents/asynchronous-capture
    """
    charge = world.get("charge", ident)
    if charge is None or charge["balance_transaction"] is not None:
        return
    book_charge(world, charge, method)
    world.emit("charge.updated", charge, {"balance_transaction": None})
