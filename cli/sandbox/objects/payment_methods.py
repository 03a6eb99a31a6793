"""Owns the published test payment methods and what each of them does (https://docs.stripe.com/testing)."""

import dataclasses
from typing import Any

from cli.sandbox.errors import missing


@dataclasses.dataclass(frozen=True)
class Method:
    """One test payment method: how it looks, and how a payment with it ends."""

    id: str
    type: str = "card"
    brand: str = "visa"
    last4: str = "4242"
    funding: str = "credit"
    decline: tuple[str, str] | None = None  # (code, decline_code) of a refusal
    authenticate: bool = False  # the payer must authenticate first
    dispute: tuple[str, str] | None = None  # (reason, first status) of a dispute that follows
    available_at_once: bool = False
    refund: str = "succeeded"  # what becomes of a refund: succeeded, pending, failed
    bank: str = "succeeded"  # how a bank debit ends: succeeded, processing, or a failure code


DECLINES: dict[str, tuple[str, str, str]] = {
    "": ("card_declined", "generic_decline", "0002"),
    "InsufficientFunds": ("card_declined", "insufficient_funds", "9995"),
    "LostCard": ("card_declined", "lost_card", "9987"),
    "StolenCard": ("card_declined", "stolen_card", "9979"),
    "Fraudulent": ("card_declined", "fraudulent", "0019"),
    "VelocityLimitExceeded": ("card_declined", "card_velocity_exceeded", "6975"),
    "ExpiredCard": ("expired_card", "expired_card", "0069"),
    "IncorrectCvc": ("incorrect_cvc", "incorrect_cvc", "0127"),
    "ProcessingError": ("processing_error", "processing_error", "0119"),
}
MESSAGES = {
    "generic_decline": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "lost_card": "Your card was declined.",
    "stolen_card": "Your card was declined.",
    "fraudulent": "Your card was declined.",
    "card_velocity_exceeded": "Your card was declined for making repeated attempts too frequently.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
    "account_closed": "The customer's bank account has been closed.",
    "no_account": "The customer's bank account could not be located.",
    "debit_not_authorized": "The customer has notified their bank that this debit was unauthorized.",
    "invalid_currency": "The bank account does not support this currency.",
}


def _all() -> dict[str, Method]:
    found = [
        Method("pm_card_visa"),
        Method("pm_card_us"),
        Method("pm_card_visa_debit", last4="5556", funding="debit"),
        Method("pm_card_mastercard", brand="mastercard", last4="4444"),
        Method("pm_card_mastercard_debit", brand="mastercard", last4="8210", funding="debit"),
        Method("pm_card_mastercard_prepaid", brand="mastercard", last4="5100", funding="prepaid"),
        Method("pm_card_amex", brand="amex", last4="8431"),
        Method("pm_card_discover", brand="discover", last4="1117"),
        Method("pm_card_diners", brand="diners", last4="0004"),
        Method("pm_card_jcb", brand="jcb", last4="0505"),
        Method("pm_card_unionpay", brand="unionpay", last4="0005"),
        Method("pm_card_bypassPending", last4="0077", available_at_once=True),
        Method("pm_card_pendingRefund", last4="7726", refund="pending"),
        Method("pm_card_refundFail", last4="5126", refund="failed"),
        Method("pm_card_radarBlock", last4="4954", decline=("card_declined", "fraudulent")),
        Method("pm_card_chargeCustomerFail", last4="0341", decline=("card_declined", "generic_decline")),
        Method("pm_card_createDispute", last4="0259", dispute=("fraudulent", "needs_response")),
        Method(
            "pm_card_createDisputeProductNotReceived",
            last4="2685",
            dispute=("product_not_received", "needs_response"),
        ),
        Method("pm_card_createDisputeInquiry", last4="1976", dispute=("fraudulent", "warning_needs_response")),
        Method("pm_card_authenticationRequired", last4="3184", authenticate=True),
        Method("pm_card_threeDSecure2Required", last4="3220", authenticate=True),
        Method("pm_card_threeDSecureRequired", last4="3155", authenticate=True),
        Method(
            "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
            last4="8260",
            authenticate=True,
            decline=("card_declined", "insufficient_funds"),
        ),
        Method(
            "pm_card_threeDSecureRequiredChargeDeclined",
            last4="1629",
            authenticate=True,
            decline=("card_declined", "generic_decline"),
        ),
    ]
    for name, (code, decline_code, last4) in DECLINES.items():
        for stem in ("pm_card_chargeDeclined", "pm_card_visa_chargeDeclined"):
            found.append(Method(stem + name, last4=last4, decline=(code, decline_code)))
    for name, bank in (
        ("", "succeeded"),
        ("_success", "succeeded"),
        ("_processing", "processing"),
        ("_accountClosed", "account_closed"),
        ("_noAccount", "no_account"),
        ("_insufficientFunds", "insufficient_funds"),
        ("_debitNotAuthorized", "debit_not_authorized"),
        ("_invalidCurrency", "invalid_currency"),
    ):
        found.append(Method("pm_usBankAccount" + name, type="us_bank_account", last4="6789", bank=bank))
    found.append(
        Method(
            "pm_usBankAccount_dispute",
            type="us_bank_account",
            last4="8885",
            dispute=("insufficient_funds", "lost"),
        )
    )
    return {method.id: method for method in found}


METHODS = _all()


def find_method(ident: str) -> Method:
    """The test payment method of that name, or a 400 `resource_missing`."""
    method = METHODS.get(ident)
    if method is None:
        raise missing("PaymentMethod", ident, "payment_method", status=400)
    return method


def render_method(method: Method, created: int) -> dict[str, Any]:
    """The PaymentMethod object, as it is embedded in errors and shown when expanded."""
    shown: dict[str, Any] = {
        "id": method.id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": blank_billing(),
        "created": created,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": method.type,
    }
    if method.type == "card":
        shown["card"] = {
            "brand": method.brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": "US",
            "display_brand": method.brand,
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": "fp_" + method.last4,
            "funding": method.funding,
            "generated_from": None,
            "last4": method.last4,
            "networks": None,
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        }
    else:
        shown["us_bank_account"] = {
            "account_holder_type": "individual",
            "account_type": "checking",
            "bank_name": "STRIPE TEST BANK",
            "financial_connections_account": None,
            "fingerprint": "fp_" + method.last4,
            "last4": method.last4,
            "networks": None,
            "routing_number": "110000000",
            "status_details": None,
        }
    return shown


def blank_billing() -> dict[str, Any]:
    address = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    return {"address": address, "email": None, "name": None, "phone": None, "tax_id": None}
