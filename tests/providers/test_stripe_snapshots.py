"""How Stripe's statuses, reasons and money lines read in our words."""

from datetime import UTC, datetime
from typing import Any, get_args

import pytest
import stripe

from app.model.snapshot import PROVIDER_RANK, NextAction, ProviderStatus
from app.providers.stripe.declines import CANCEL_REASON
from app.providers.stripe.fields import Unreadable
from app.providers.stripe.snapshots import STATUS, read_payment_intent

DECLINE = {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor", "message": "No."}


def read(body):
    return read_payment_intent(body, account="default")


def literals(annotation: Any) -> set[str]:
    if isinstance(annotation, str):
        return {annotation}
    return {text for part in get_args(annotation) for text in literals(part)}


def test_every_status_and_reason_that_the_sdk_names_has_a_word_of_ours():
    assert set(STATUS) == literals(stripe.PaymentIntent.__annotations__["status"])
    assert set(CANCEL_REASON) == literals(stripe.PaymentIntent.__annotations__["cancellation_reason"])


@pytest.mark.parametrize(
    "status, error, ours",
    [
        ("requires_payment_method", None, "created"),
        ("requires_payment_method", DECLINE, "failed"),
        ("requires_confirmation", None, "created"),
        ("requires_confirmation", DECLINE, "created"),
        ("requires_action", None, "action_required"),
        ("processing", None, "processing"),
        ("requires_capture", None, "capturable"),
        ("succeeded", None, "succeeded"),
        ("canceled", None, "canceled"),
        ("canceled", DECLINE, "failed"),
    ],
)
def test_a_status_reads_as_ours(intent, status, error, ours):
    snapshot = read(intent(status=status, last_payment_error=error))
    assert snapshot.status == ours
    assert snapshot.closed == (status == "canceled")
    assert snapshot.rank == PROVIDER_RANK[ProviderStatus(ours)]
    assert (snapshot.failure_code is not None) == (ours == "failed")
    assert (snapshot.cancel_reason is not None) == (ours == "canceled")
    assert (snapshot.next_action is not None) == (ours == "action_required")


@pytest.mark.parametrize("status", ["", "requires_reflection", None, 7])
def test_a_status_we_do_not_know_is_unreadable_and_not_guessed(intent, status):
    with pytest.raises(Unreadable):
        read(intent(status=status))


@pytest.mark.parametrize(
    "theirs, ours",
    [
        ("expired", "authorization_expired"),
        ("automatic", "authorization_expired"),
        ("abandoned", "abandoned"),
        ("duplicate", "duplicate"),
        ("fraudulent", "fraudulent"),
        ("requested_by_customer", "requested"),
        ("void_invoice", "operator"),
        ("something_new", "operator"),
        (None, "operator"),
    ],
)
def test_a_cancellation_has_one_of_our_reasons(intent, theirs, ours):
    assert read(intent(status="canceled", cancellation_reason=theirs)).cancel_reason == ours


def test_a_declined_payment_tells_why_and_whether_to_try_again(intent):
    snapshot = read(intent(status="requires_payment_method", last_payment_error=DECLINE))
    assert (snapshot.failure_code, snapshot.failure_message, snapshot.failure_retryable) == (
        "do_not_honor",
        "No.",
        False,
    )


@pytest.mark.parametrize(
    "error, code, retryable",
    [
        ({"code": "card_declined", "decline_code": "insufficient_funds"}, "insufficient_funds", True),
        ({"code": "processing_error"}, "processing_error", True),
        (
            {"code": "card_declined", "decline_code": "do_not_honor", "advice_code": "try_again_later"},
            "do_not_honor",
            True,
        ),
        ({"code": "processing_error", "advice_code": "do_not_try_again"}, "processing_error", False),
        ({"code": "brand_new_code"}, "brand_new_code", False),
        ({"type": "card_error"}, "card_error", False),
        ({"message": "?"}, "unknown", False),
    ],
)
def test_a_failure_always_has_a_code_and_the_issuers_advice_goes_first(intent, error, code, retryable):
    snapshot = read(intent(status="requires_payment_method", last_payment_error=error))
    assert (snapshot.failure_code, snapshot.failure_retryable) == (code, retryable)


def test_a_challenge_leaves_its_trace_in_the_charge(intent, charge):
    card = {"three_d_secure": {"authentication_flow": "challenge"}, "capture_before": None}
    challenged = charge(payment_method_details={"type": "card", "card": card})
    assert read(intent(latest_charge=challenged)).action_taken
    card["three_d_secure"]["authentication_flow"] = "frictionless"
    assert not read(intent(latest_charge=challenged)).action_taken


def test_a_failed_challenge_leaves_its_trace_in_the_error(intent):
    error = {"code": "payment_intent_authentication_failure", "message": "Not you."}
    snapshot = read(intent(status="requires_payment_method", latest_charge=None, last_payment_error=error))
    assert snapshot.action_taken
    assert snapshot.failure_retryable


@pytest.mark.parametrize(
    "action, ours",
    [
        (
            {
                "type": "redirect_to_url",
                "redirect_to_url": {"url": "https://hooks.example/3ds?k=secret", "return_url": "x"},
            },
            NextAction("redirect", "https://hooks.example/3ds?k=secret"),
        ),
        (
            {
                "type": "verify_with_microdeposits",
                "verify_with_microdeposits": {"hosted_verification_url": "https://v"},
            },
            NextAction("verify_microdeposits", "https://v"),
        ),
        ({"type": "use_stripe_sdk", "use_stripe_sdk": {"stripe_js": "x"}}, NextAction("use_stripe_sdk", None)),
        ({"type": "redirect_to_url"}, NextAction("redirect", None)),
        (None, NextAction("unknown", None)),
    ],
)
def test_what_the_payer_has_to_do_is_told_with_the_page_to_visit(intent, action, ours):
    assert read(intent(status="requires_action", next_action=action)).next_action == ours


def test_an_authorization_tells_how_much_is_held_and_until_when(intent, charge):
    held = charge(
        captured=False,
        balance_transaction=None,
        payment_method_details={"type": "card", "card": {"capture_before": 1_790_600_000}},
    )
    snapshot = read(intent(status="requires_capture", amount_capturable=1050, amount_received=0, latest_charge=held))
    assert snapshot.capture_before == datetime.fromtimestamp(1_790_600_000, UTC)
    assert (snapshot.amount_authorized, snapshot.amount_capturable, snapshot.amount_captured) == (1050, 1050, 0)
    assert snapshot.facts == ()


@pytest.mark.parametrize(
    "details, last4",
    [
        ({"type": "card", "card": {"last4": "4242"}}, "4242"),
        ({"type": "us_bank_account", "us_bank_account": {"last4": "6789", "bank_name": "STRIPE TEST BANK"}}, "6789"),
        ({"type": "card", "card": {"last4": "4242424242424242"}}, None),
        ({"type": "card", "card": {"last4": None}}, None),
        ({"type": "link", "link": None}, None),
        (None, None),
    ],
)
def test_of_a_card_or_account_no_more_is_read_than_its_last_four_digits(intent, charge, details, last4):
    read = read_payment_intent(intent(latest_charge=charge(payment_method_details=details)), account="default")
    assert read.method_last4 == last4


def test_a_declined_charge_authorized_nothing(intent, charge):
    declined = charge(status="failed", balance_transaction=None)
    snapshot = read(intent(status="requires_payment_method", last_payment_error=DECLINE, latest_charge=declined))
    assert snapshot.amount_authorized is None
    assert snapshot.charge_ref == "ch_1"


def test_an_unexpanded_charge_is_known_by_its_reference_only(intent):
    snapshot = read(intent(latest_charge="ch_1"))
    assert (snapshot.charge_ref, snapshot.amount_authorized, snapshot.facts) == ("ch_1", None, ())


def test_a_money_line_keeps_its_own_currency_and_category(intent, charge):
    line = charge()["balance_transaction"] | {
        "currency": "eur",
        "amount": 950,
        "fee": 50,
        "net": 900,
        "status": "available",
    }
    (fact,) = read(intent(latest_charge=charge(balance_transaction=line))).facts
    assert (fact.ref, fact.kind, fact.source_ref, fact.currency) == ("txn_1", "charge", "ch_1", "eur")
    assert (fact.gross, fact.fee, fact.net, fact.status) == (950, 50, 900, "available")
    assert fact.available_on == datetime.fromtimestamp(1_790_200_000, UTC)


@pytest.mark.parametrize(
    "change", [{"net": 1}, {"status": "odd"}, {"available_on": None}, {"fee": "60"}, {"amount": 1.5}]
)
def test_a_money_line_that_makes_no_sense_is_unreadable(intent, charge, change):
    line = charge()["balance_transaction"] | change
    with pytest.raises(Unreadable):
        read(intent(latest_charge=charge(balance_transaction=line)))


def test_amounts_are_read_in_our_minor_units(intent, charge):
    snapshot = read(intent(currency="mga", amount=2500, amount_received=2500, latest_charge=charge(amount=2500)))
    assert (snapshot.amount, snapshot.amount_captured, snapshot.amount_authorized) == (250_000, 250_000, 250_000)


@pytest.mark.parametrize("theirs", ["1", "pi_1", "01980000-0000-7000-8000-00000000000Z", "", None, 7, ["x"], "{" * 36])
def test_metadata_that_is_no_id_of_ours_is_not_believed(intent, theirs):
    assert read(intent(metadata={"payment_id": theirs})).payment_id is None


@pytest.mark.parametrize(
    "change",
    [{"id": None}, {"id": "pi 1"}, {"object": "charge"}, {"currency": None}, {"created": 10**20}, {"amount": "1050"}],
)
def test_a_payment_of_the_wrong_shape_is_unreadable(intent, change):
    with pytest.raises(Unreadable):
        read(intent(**change))
