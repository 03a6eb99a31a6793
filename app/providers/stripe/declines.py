"""Stripe's codes as tables: which declines may be tried again, and what our reasons are called there."""

from __future__ import annotations

# What the issuer itself advises goes before our own reading. https://docs.stripe.com/declines/card#retrying-issuer-declines
RETRYABLE_BY_ADVICE = {"try_again_later": True, "confirm_card_data": False, "do_not_try_again": False}

# https://docs.stripe.com/declines/codes: true where the same card may well be accepted later or after the payer acts.
# A code that is not here is not retryable.
RETRYABLE_BY_DECLINE = {
    "approve_with_id": True,
    "authentication_required": True,
    "insufficient_funds": True,
    "issuer_not_available": True,
    "payment_intent_authentication_failure": True,
    "processing_error": True,
    "reenter_transaction": True,
    "try_again_later": True,
    "card_velocity_exceeded": True,
    "withdrawal_count_limit_exceeded": True,
    "call_issuer": False,
    "card_declined": False,
    "card_not_supported": False,
    "currency_not_supported": False,
    "do_not_honor": False,
    "do_not_try_again": False,
    "duplicate_transaction": False,
    "expired_card": False,
    "fraudulent": False,
    "generic_decline": False,
    "highest_risk_level": False,
    "incorrect_cvc": False,
    "incorrect_number": False,
    "invalid_account": False,
    "invalid_amount": False,
    "lost_card": False,
    "merchant_blacklist": False,
    "new_account_information_available": False,
    "no_action_taken": False,
    "not_permitted": False,
    "pickup_card": False,
    "restricted_card": False,
    "revocation_of_all_authorizations": False,
    "revocation_of_authorization": False,
    "security_violation": False,
    "service_not_allowed": False,
    "stolen_card": False,
    "stop_payment_order": False,
    "testmode_decline": False,
    "transaction_not_allowed": False,
}

# Ours -> theirs. https://docs.stripe.com/api/payment_intents/cancel#cancel_payment_intent-cancellation_reason
CANCELLATION_REASON = {
    "requested": "requested_by_customer",
    "operator": "requested_by_customer",
    "abandoned": "abandoned",
    "action_expired": "abandoned",
    "authorization_expired": "abandoned",
    "duplicate": "duplicate",
    "fraudulent": "fraudulent",
}

# Ours -> theirs. https://docs.stripe.com/api/refunds/create#create_refund-reason
REFUND_REASON = {
    "requested": "requested_by_customer",
    "duplicate": "duplicate",
    "fraudulent": "fraudulent",
}

# Theirs -> ours. `expired` was `automatic` before the API version basil. Whoever cancels in Stripe's Dashboard without
# a reason, or with one that has no name here, is our own operator.
CANCEL_REASON = {
    "abandoned": "abandoned",
    "automatic": "authorization_expired",
    "duplicate": "duplicate",
    "expired": "authorization_expired",
    "failed_invoice": "operator",
    "fraudulent": "fraudulent",
    "requested_by_customer": "requested",
    "void_invoice": "operator",
}
CANCEL_REASON_OTHERWISE = "operator"


def failure_code(error: dict[str, object]) -> str:
    """The issuer's decline code, else Stripe's error code, else its type; never empty."""
    for name in ("decline_code", "code", "type"):
        value = error.get(name)
        if isinstance(value, str) and value:
            return value[:100]
    return "unknown"


def is_retryable(error: dict[str, object]) -> bool:
    advice = error.get("advice_code")
    if isinstance(advice, str) and advice in RETRYABLE_BY_ADVICE:
        return RETRYABLE_BY_ADVICE[advice]
    return RETRYABLE_BY_DECLINE.get(failure_code(error), False)
