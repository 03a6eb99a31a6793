"""Owns the table of Stripe facts: each a sentence, where Stripe says so, and a check against a running server.

The sandbox and the product's adapter have the same authors, and so would share their misreadings: what is in
this table was looked up, and both must agree with it. A source that names a file is in the `stripe` SDK 16.1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.sandbox.process import Sandbox


class Fact(NamedTuple):
    id: str
    sentence: str
    source: str
    check: Callable[[Sandbox], None]


FACTS: list[Fact] = []
IDEMPOTENCY = "https://docs.stripe.com/api/idempotent_requests"
LIFECYCLE = "https://docs.stripe.com/payments/paymentintents/lifecycle"
ASYNC = "https://docs.stripe.com/payments/payment-intents/asynchronous-capture"
TESTING = "https://docs.stripe.com/testing"
RELEASE = "https://docs.stripe.com/changelog/basil/2025-03-31/remove-refund-from-partial-capture-and-payment-cancellation-flow"
TYPES_GONE = (
    "https://docs.stripe.com/changelog/endive/2026-09-30/"
    "removes-the-payment-method-types-parameter-from-payment-intents-and-setup-intents"
)
ALLOWED = "https://docs.stripe.com/changelog/dahlia/2026-07-29/allowed-payment-method-types-parameter"
LIMITS = "https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts"
ACH = "https://docs.stripe.com/payments/ach-direct-debit"


def fact(sentence: str, source: str) -> Callable[[Callable[[Sandbox], None]], Callable[[Sandbox], None]]:
    def add(check: Callable[[Sandbox], None]) -> Callable[[Sandbox], None]:
        FACTS.append(Fact(check.__name__, sentence, source, check))
        return check

    return add


def code(error: Any) -> tuple[int, str | None]:
    return error.http_status, error.code


# -- creating and confirming ------------------------------------------------------------------------------------


@fact("A PaymentIntent without a payment method is requires_payment_method and has no charge.", LIFECYCLE)
def starts_without_method(s: Sandbox) -> None:
    intent = s.client.payment_intents.create({"amount": 1000, "currency": "usd"})
    assert (intent.status, intent.latest_charge) == ("requires_payment_method", None)


@fact(
    "A PaymentIntent with a payment method waits as requires_confirmation; creating moves no money.",
    LIFECYCLE,
)
def waits_for_confirmation(s: Sandbox) -> None:
    intent = s.create()
    assert intent.status == "requires_confirmation"
    assert s.ledger(intent.id)["charges"] == []


@fact("payment_method_types is refused with payment_method_types_no_longer_supported.", TYPES_GONE)
def method_types_are_gone(s: Sandbox) -> None:
    error = s.refusal(lambda: s.create(payment_method_types=["card"]))
    assert code(error) == (400, "payment_method_types_no_longer_supported")


@fact("payment_method_types is still returned, as the list of what can be used.", TYPES_GONE)
def method_types_are_shown(s: Sandbox) -> None:
    assert s.create().payment_method_types == ["card"]


@fact("allowed_payment_method_types silently drops what the currency cannot use.", ALLOWED)
def allowed_types_are_filtered(s: Sandbox) -> None:
    intent = s.client.payment_intents.create(
        {"amount": 1000, "currency": "eur", "allowed_payment_method_types": ["card", "us_bank_account"]}
    )
    assert intent.payment_method_types == ["card"]


@fact("allowed_payment_method_types excludes automatic_payment_methods.", ALLOWED)
def allowed_types_exclude_automatic(s: Sandbox) -> None:
    error = s.refusal(lambda: s.create(automatic_payment_methods={"enabled": True}))
    assert error.http_status == 400


@fact("automatic_async is the capture method when none is given.", "https://docs.stripe.com/changelog/2024-04-10/"
      "automatic-sync-default-paymentintents")  # fmt: skip
def capture_is_asynchronous(s: Sandbox) -> None:
    assert s.create().capture_method == "automatic_async"


@fact("With asynchronous capture the balance transaction is null when the confirm answers.", ASYNC)
def balance_transaction_is_null_at_first(s: Sandbox) -> None:
    charge = s.pay().latest_charge
    assert (charge.captured, charge.amount_captured, charge.balance_transaction) == (True, 1000, None)


@fact("charge.updated tells that the balance transaction has come.", ASYNC)
def charge_updated_brings_it(s: Sandbox) -> None:
    intent = s.pay()
    s.post("clock", advance=601)
    charge = s.client.charges.retrieve(intent.latest_charge.id, {"expand": ["balance_transaction"]})
    assert charge.balance_transaction.amount == 1000
    assert s.topics(intent.id)[-1] == "charge.updated"


@fact("capture_method=automatic has its balance transaction at once.", ASYNC)
def synchronous_capture_has_it_at_once(s: Sandbox) -> None:
    assert s.pay(capture_method="automatic").latest_charge.balance_transaction.startswith("txn_")


@fact("A succeeded PaymentIntent cannot be confirmed again: payment_intent_unexpected_state, with the intent.",
      "https://docs.stripe.com/error-codes#payment-intent-unexpected-state")  # fmt: skip
def no_second_confirm(s: Sandbox) -> None:
    intent = s.pay()
    error = s.refusal(lambda: s.confirm(intent.id))
    assert code(error) == (400, "payment_intent_unexpected_state")
    assert error.json_body["error"]["payment_intent"]["status"] == "succeeded"
    assert len(s.ledger(intent.id)["charges"]) == 1


@fact("A confirm that might redirect needs a return_url.", "https://docs.stripe.com/api/payment_intents/confirm")
def confirm_needs_return_url(s: Sandbox) -> None:
    intent = s.create()
    error = s.refusal(lambda: s.client.payment_intents.confirm(intent.id))
    assert (error.http_status, error.param) == (400, "return_url")


@fact("An amount under 50 cents is amount_too_small.", LIMITS)
def too_small(s: Sandbox) -> None:
    assert code(s.refusal(lambda: s.create(amount=49))) == (400, "amount_too_small")
    assert s.create(amount=50).amount == 50


@fact("An amount has at most eight digits.", "stripe/params/_payment_intent_create_params.py: amount")
def too_large(s: Sandbox) -> None:
    assert code(s.refusal(lambda: s.create(amount=100_000_000))) == (400, "amount_too_large")
    assert s.create(amount=99_999_999).amount == 99_999_999


@fact("Yen has no decimals: 50 is fifty yen and allowed.", "https://docs.stripe.com/currencies#zero-decimal")
def zero_decimal(s: Sandbox) -> None:
    assert s.create(amount=50, currency="jpy").currency == "jpy"
    assert code(s.refusal(lambda: s.create(amount=49, currency="jpy"))) == (400, "amount_too_small")


# -- declines and authentication --------------------------------------------------------------------------------


@fact("A decline is a 402 card_error and sends the intent back to requires_payment_method.", LIFECYCLE)
def decline_goes_back(s: Sandbox) -> None:
    intent = s.create("pm_card_chargeDeclined")
    error = s.refusal(lambda: s.confirm(intent.id))
    assert (*code(error), error.error.decline_code) == (402, "card_declined", "generic_decline")
    after = s.client.payment_intents.retrieve(intent.id)
    assert (after.status, after.payment_method) == ("requires_payment_method", None)
    assert after.last_payment_error.decline_code == "generic_decline"
    assert after.latest_charge == error.error.charge


@fact("Insufficient funds, lost and stolen cards are card_declined with their own decline_code.", TESTING)
def decline_codes(s: Sandbox) -> None:
    for method, wanted in (
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "stolen_card"),
    ):
        error = s.refusal(lambda method=method: s.pay(method))
        assert (error.code, error.error.decline_code) == ("card_declined", wanted)


@fact("Expired card, wrong CVC and processing error are codes of their own.", TESTING)
def error_codes(s: Sandbox) -> None:
    for method, wanted in (
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error"),
    ):
        assert code(s.refusal(lambda method=method: s.pay(method))) == (402, wanted)


@fact("After a decline another payment method can be tried on the same PaymentIntent.", LIFECYCLE)
def second_method(s: Sandbox) -> None:
    intent = s.create("pm_card_chargeDeclined")
    s.refusal(lambda: s.confirm(intent.id))
    assert s.confirm(intent.id, payment_method="pm_card_visa").status == "succeeded"
    assert [charge["status"] for charge in s.ledger(intent.id)["charges"]] == ["failed", "succeeded"]


@fact(
    "A payment method that does not exist is resource_missing.",
    "https://docs.stripe.com/error-codes#resource-missing",
)
def unknown_method(s: Sandbox) -> None:
    error = s.refusal(lambda: s.create("pm_nothing"))
    assert (*code(error), error.param) == (400, "resource_missing", "payment_method")


@fact("A card that needs 3-D Secure is requires_action with a redirect, and no charge yet.", TESTING)
def needs_action(s: Sandbox) -> None:
    intent = s.pay("pm_card_threeDSecure2Required")
    assert (intent.status, intent.next_action.type) == ("requires_action", "redirect_to_url")
    assert intent.next_action.redirect_to_url.return_url == "https://shop.example/back"
    assert s.ledger(intent.id)["charges"] == []


@fact("A failed authentication is payment_intent_authentication_failure and asks for a new method.",
      "https://docs.stripe.com/error-codes#payment-intent-authentication-failure")  # fmt: skip
def failed_authentication(s: Sandbox) -> None:
    intent = s.pay("pm_card_authenticationRequired")
    s.post(f"payment_intents/{intent.id}/authenticate", outcome="failure")
    after = s.client.payment_intents.retrieve(intent.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error.code == "payment_intent_authentication_failure"


@fact(
    "The charge of an authenticated payer tells the flow: challenge, authenticated.",
    "stripe/_charge.py: ThreeDSecure",
)
def charge_tells_the_challenge(s: Sandbox) -> None:
    intent = s.pay("pm_card_threeDSecure2Required")
    s.post(f"payment_intents/{intent.id}/authenticate", outcome="success")
    after = s.client.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    told = after.latest_charge.payment_method_details.card.three_d_secure
    assert (told.authentication_flow, told.result) == ("challenge", "authenticated")
    assert s.pay().latest_charge.payment_method_details.card.three_d_secure is None


@fact("Off session a card that needs authentication is declined with authentication_required.",
      "https://docs.stripe.com/declines/codes")  # fmt: skip
def off_session(s: Sandbox) -> None:
    intent = s.create("pm_card_authenticationRequired")
    error = s.refusal(lambda: s.client.payment_intents.confirm(intent.id, {"off_session": True}))
    assert (*code(error), error.error.decline_code) == (
        402,
        "authentication_required",
        "authentication_required",
    )


# -- capture and cancel -----------------------------------------------------------------------------------------


@fact("Manual capture holds the money: requires_capture, amount_capturable, capture_before.",
      "https://docs.stripe.com/payments/place-a-hold-on-a-payment-method")  # fmt: skip
def manual_capture_holds(s: Sandbox) -> None:
    intent = s.pay(capture_method="manual")
    charge = intent.latest_charge
    assert (intent.status, intent.amount_capturable, intent.amount_received) == ("requires_capture", 1000, 0)
    assert (charge.captured, charge.amount_captured, charge.balance_transaction) == (False, 0, None)
    assert charge.payment_method_details.card.capture_before - charge.created == 7 * 86400


@fact("A partial capture makes one balance transaction, of what was captured, and no refund.", RELEASE)
def partial_capture(s: Sandbox) -> None:
    intent = s.pay(capture_method="manual")
    after = s.client.payment_intents.capture(
        intent.id, {"amount_to_capture": 600, "expand": ["latest_charge.balance_transaction"]}
    )
    charge = after.latest_charge
    assert (after.status, after.amount_received, after.amount_capturable) == ("succeeded", 600, 0)
    assert (charge.amount, charge.amount_captured, charge.amount_refunded, charge.refunded) == (
        1000,
        600,
        0,
        False,
    )
    assert charge.balance_transaction.amount == 600
    booked = s.client.balance_transactions.list({"source": charge.id}).data
    assert [row.amount for row in booked] == [600]
    assert s.client.refunds.list({"payment_intent": intent.id}).data == []


@fact("No more can be captured than is held.", "https://docs.stripe.com/api/payment_intents/capture")
def over_capture(s: Sandbox) -> None:
    intent = s.pay(capture_method="manual")
    error = s.refusal(lambda: s.client.payment_intents.capture(intent.id, {"amount_to_capture": 1001}))
    assert (error.http_status, error.param) == (400, "amount_to_capture")


@fact("Only requires_capture can be captured.", "https://docs.stripe.com/api/payment_intents/capture")
def capture_needs_hold(s: Sandbox) -> None:
    for intent in (s.create(), s.pay()):
        error = s.refusal(lambda intent=intent: s.client.payment_intents.capture(intent.id))
        assert code(error) == (400, "payment_intent_unexpected_state")


@fact("Canceling a hold makes no refund; the charge is not refunded and amount_captured is 0.", RELEASE)
def cancel_releases(s: Sandbox) -> None:
    intent = s.pay(capture_method="manual")
    after = s.client.payment_intents.cancel(
        intent.id, {"cancellation_reason": "abandoned", "expand": ["latest_charge"]}
    )
    charge = after.latest_charge
    assert (after.status, after.cancellation_reason, after.amount_capturable) == ("canceled", "abandoned", 0)
    assert (charge.amount_captured, charge.amount_refunded, charge.refunded) == (0, 0, False)
    assert "charge.refunded" not in s.topics(intent.id)


@fact("Succeeded and canceled PaymentIntents cannot be canceled.", "stripe/_payment_intent_service.py: cancel")
def cancel_is_final(s: Sandbox) -> None:
    done, gone = s.pay(), s.create()
    s.client.payment_intents.cancel(gone.id)
    for intent in (done, gone):
        error = s.refusal(lambda intent=intent: s.client.payment_intents.cancel(intent.id))
        assert code(error) == (400, "payment_intent_unexpected_state")


@fact("A hold that runs out is charge.expired, and the intent is canceled with the reason expired.", RELEASE)
def hold_expires(s: Sandbox) -> None:
    intent = s.pay(capture_method="manual")
    s.post("clock", advance=7 * 86400 + 1)
    after = s.client.payment_intents.retrieve(intent.id)
    assert (after.status, after.cancellation_reason) == ("canceled", "expired")
    assert s.topics(intent.id)[-2:] == ["charge.expired", "payment_intent.canceled"]


@fact("Capturing after the hold ran out is charge_expired_for_capture.",
      "https://docs.stripe.com/error-codes#charge-expired-for-capture")  # fmt: skip
def capture_after_expiry(s: Sandbox) -> None:
    intent = s.pay(capture_method="manual")
    s.post("clock", advance=7 * 86400 + 1)
    error = s.refusal(lambda: s.client.payment_intents.capture(intent.id))
    assert code(error) == (400, "charge_expired_for_capture")


# -- refunds and disputes ---------------------------------------------------------------------------------------


@fact("A refund takes a balance transaction of the negative amount, and Stripe's fee is not returned.",
      "https://docs.stripe.com/refunds")  # fmt: skip
def refund_books(s: Sandbox) -> None:
    intent = s.pay(capture_method="automatic")
    refund = s.client.refunds.create({"payment_intent": intent.id, "amount": 400, "expand": ["balance_transaction"]})
    row = refund.balance_transaction
    assert (refund.status, row.amount, row.fee, row.net) == ("succeeded", -400, 0, -400)
    assert (row.type, row.reporting_category) == ("refund", "refund")
    charge = s.client.charges.retrieve(intent.latest_charge.id)
    assert (charge.amount_refunded, charge.refunded) == (400, False)


@fact("No more can be refunded than is left of the charge.", "stripe/_refund_service.py: create")
def over_refund(s: Sandbox) -> None:
    intent = s.pay()
    s.client.refunds.create({"payment_intent": intent.id, "amount": 700})
    error = s.refusal(lambda: s.client.refunds.create({"payment_intent": intent.id, "amount": 700}))
    assert (error.http_status, error.param) == (400, "amount")
    assert s.ledger(intent.id)["charges"][0]["amount_refunded"] == 700


@fact("A charge that is entirely refunded is charge_already_refunded.",
      "https://docs.stripe.com/error-codes#charge-already-refunded")  # fmt: skip
def refunded_once(s: Sandbox) -> None:
    intent = s.pay()
    s.client.refunds.create({"payment_intent": intent.id})
    error = s.refusal(lambda: s.client.refunds.create({"payment_intent": intent.id}))
    assert code(error) == (400, "charge_already_refunded")


@fact("A refund can fail after it succeeded: refund.failed, and the amount comes back.",
      "https://docs.stripe.com/refunds#failed-refunds")  # fmt: skip
def refund_fails(s: Sandbox) -> None:
    intent = s.pay("pm_card_refundFail")
    refund = s.client.refunds.create({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    s.post("clock", advance=60)
    after = s.client.refunds.retrieve(refund.id, {"expand": ["failure_balance_transaction"]})
    assert (after.status, after.failure_balance_transaction.amount) == ("failed", 1000)
    assert s.ledger(intent.id)["charges"][0]["amount_refunded"] == 0


@fact(
    "A disputed charge cannot be refunded: charge_disputed.",
    "https://docs.stripe.com/error-codes#charge-disputed",
)
def disputed_is_not_refundable(s: Sandbox) -> None:
    intent = s.pay()
    s.post(f"charges/{intent.latest_charge.id}/dispute")
    error = s.refusal(lambda: s.client.refunds.create({"payment_intent": intent.id}))
    assert code(error) == (400, "charge_disputed")


@fact("A dispute withdraws the amount and a fee at once; winning returns the amount.",
      "https://docs.stripe.com/disputes/how-disputes-work")  # fmt: skip
def dispute_moves_money(s: Sandbox) -> None:
    intent = s.pay("pm_card_createDispute")
    s.post("clock", advance=60)
    dispute = s.client.disputes.list({"payment_intent": intent.id}).data[0]
    assert (dispute.status, dispute.reason) == ("needs_response", "fraudulent")
    s.client.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    after = s.client.disputes.retrieve(dispute.id)
    assert after.status == "won"
    assert [row.amount for row in after.balance_transactions] == [-1000, 1000]
    assert [row.reporting_category for row in after.balance_transactions] == ["dispute", "dispute_reversal"]


@fact("Closing a dispute loses it, for good.", "stripe/_dispute_service.py: close")
def closing_loses(s: Sandbox) -> None:
    dispute = s.post(f"charges/{s.pay().latest_charge.id}/dispute")
    assert s.client.disputes.close(dispute["id"]).status == "lost"
    assert s.refusal(lambda: s.client.disputes.close(dispute["id"])).http_status == 400


@fact("An inquiry withdraws nothing.", "https://docs.stripe.com/disputes/how-disputes-work#inquiries")
def inquiry_withdraws_nothing(s: Sandbox) -> None:
    dispute = s.post(f"charges/{s.pay().latest_charge.id}/dispute", status="warning_needs_response")
    assert dispute["balance_transactions"] == []


# -- bank debits ------------------------------------------------------------------------------------------------


@fact("A bank debit is processing first and succeeds later.", ACH)
def debit_succeeds_later(s: Sandbox) -> None:
    intent = s.pay("pm_usBankAccount_success")
    assert (intent.status, intent.latest_charge.status) == ("processing", "pending")
    s.post("clock", advance=86401)
    assert s.client.payment_intents.retrieve(intent.id).status == "succeeded"


@fact("A bank debit can fail later: requires_payment_method with last_payment_error.", ACH)
def debit_fails_later(s: Sandbox) -> None:
    intent = s.pay("pm_usBankAccount_insufficientFunds")
    s.post("clock", advance=86401)
    after = s.client.payment_intents.retrieve(intent.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error.code == "insufficient_funds"


@fact("A bank debit's failure after success is a dispute that is lost from the start.", ACH)
def debit_fails_late(s: Sandbox) -> None:
    intent = s.pay("pm_usBankAccount_dispute")
    s.post("clock", advance=86500)
    dispute = s.client.disputes.list({"payment_intent": intent.id}).data[0]
    assert (dispute.status, dispute.reason) == ("lost", "insufficient_funds")
    assert [row.amount for row in dispute.balance_transactions] == [-1000]


# -- the API itself ---------------------------------------------------------------------------------------------


@fact("The same key and parameters give the first answer again, marked Idempotent-Replayed.", IDEMPOTENCY)
def key_replays(s: Sandbox) -> None:
    intent = s.create()
    first = s.confirm(intent.id, key=f"fact-{intent.id}")
    second = s.confirm(intent.id, key=f"fact-{intent.id}")
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    assert second.last_response.body == first.last_response.body


@fact("The same key with other parameters is an idempotency_error.", IDEMPOTENCY)
def key_compares(s: Sandbox) -> None:
    intent = s.create()
    s.confirm(intent.id, key=f"other-{intent.id}")
    error = s.refusal(lambda: s.confirm(intent.id, key=f"other-{intent.id}", payment_method="pm_card_amex"))
    assert (error.http_status, type(error).__name__) == (400, "IdempotencyError")


@fact("What failed validation is not saved under the key.", IDEMPOTENCY)
def validation_is_not_saved(s: Sandbox) -> None:
    options: Any = {"idempotency_key": "fact-validation"}
    s.refusal(lambda: s.client.payment_intents.create({"amount": 1, "currency": "usd"}, options))
    assert s.client.payment_intents.create({"amount": 100, "currency": "usd"}, options).amount == 100


@fact("An unknown parameter is parameter_unknown.", "https://docs.stripe.com/error-codes#parameter-unknown")
def unknown_parameter(s: Sandbox) -> None:
    error = s.refusal(lambda: s.create(colour="red"))
    assert (*code(error), error.param) == (400, "parameter_unknown", "colour")


@fact(
    "An object that does not exist is a 404 resource_missing.",
    "https://docs.stripe.com/error-codes#resource-missing",
)
def unknown_object(s: Sandbox) -> None:
    error = s.refusal(lambda: s.client.payment_intents.retrieve("pi_nothing"))
    assert code(error) == (404, "resource_missing")


@fact("A wrong API key is a 401.", "https://docs.stripe.com/api/errors")
def wrong_key(s: Sandbox) -> None:
    client = s.make_client(20, key="sk_test_wrong")
    error = s.refusal(lambda: client.balance.retrieve())
    assert (error.http_status, type(error).__name__) == (401, "AuthenticationError")


@fact(
    "Lists are newest first, at most 100, and page by starting_after.",
    "https://docs.stripe.com/api/pagination",
)
def pages(s: Sandbox) -> None:
    made = [s.create().id for _ in range(3)]
    first = s.client.payment_intents.list({"limit": 2})
    assert ([row.id for row in first.data], first.has_more) == ([made[2], made[1]], True)
    after = s.client.payment_intents.list({"limit": 1, "starting_after": made[1]})
    assert after.data[0].id == made[0]
    assert code(s.refusal(lambda: s.client.payment_intents.list({"limit": 101}))) == (
        400,
        "parameter_invalid_integer",
    )


@fact("A property that is not expandable is refused.", "https://docs.stripe.com/api/expanding_objects")
def expands_only_ids(s: Sandbox) -> None:
    intent = s.create()
    error = s.refusal(lambda: s.client.payment_intents.retrieve(intent.id, {"expand": ["amount"]}))
    assert (error.http_status, error.param) == (400, "expand")


@fact("Money is pending until its available_on, then available.",
      "https://docs.stripe.com/api/balance_transactions/object#balance_transaction_object-status")  # fmt: skip
def money_becomes_available(s: Sandbox) -> None:
    intent = s.pay(capture_method="automatic")
    row = s.client.balance_transactions.list({"source": intent.latest_charge.id}).data[0]
    assert (row.status, row.available_on >= row.created + 86400) == ("pending", True)
    s.post("clock", set=row.available_on + 1)
    assert s.client.balance_transactions.retrieve(row.id).status == "available"


@fact(
    "Only an automatic payout lists its transactions.",
    "stripe/params/_balance_transaction_list_params.py: payout",
)
def automatic_payout_itemises(s: Sandbox) -> None:
    intent = s.pay("pm_card_bypassPending", amount=500_000, capture_method="automatic")
    manual = s.client.payouts.create({"amount": 100, "currency": "usd"})
    assert s.client.balance_transactions.list({"payout": manual.id}).data == []
    payout = s.post("payouts")
    rows = s.client.balance_transactions.list({"payout": payout["id"], "limit": 100}).data
    assert intent.latest_charge.id in [row.source for row in rows]
    assert (rows[0].net, rows[0].type) == (-payout["amount"], "payout")
    assert len(rows) == 100 or sum(row.net for row in rows) == 0
