"""What each step asks of Stripe, rebuilt from the stored parameters alone."""

import json
from datetime import UTC, datetime

import pytest
import stripe
from stripe._api_version import _ApiVersion

from app.errors import AmountRefused, Invalid
from app.providers.protocol import Step
from app.providers.stripe import API_VERSION, StripeProvider
from app.providers.stripe.declines import CANCELLATION_REASON
from app.providers.stripe.lists import REQUESTS as OF_ACCOUNT
from app.providers.stripe.requests import OF_A_PAYMENT, build_request

EXPAND = ["latest_charge", "latest_charge.balance_transaction"]


def build(step, operation, ref="pi_1", key="op:step:1"):
    return build_request(step, operation, ref=ref, key=key)


def test_the_adapter_speaks_the_api_version_of_the_installed_sdk():
    assert API_VERSION == _ApiVersion.CURRENT == "2026-10-28.endive"


def test_another_api_version_in_the_sdk_stops_the_adapter(monkeypatch):
    monkeypatch.setattr(_ApiVersion, "CURRENT", "2027-01-27.fennel")
    with pytest.raises(RuntimeError):
        StripeProvider("sk_test_postbox", account="default")


@pytest.mark.parametrize(
    "step, method, path",
    [
        (Step.CREATE, "POST", "/v1/payment_intents"),
        (Step.CONFIRM, "POST", "/v1/payment_intents/pi_1/confirm"),
        (Step.CAPTURE, "POST", "/v1/payment_intents/pi_1/capture"),
        (Step.CANCEL, "POST", "/v1/payment_intents/pi_1/cancel"),
        (Step.CLOSE, "POST", "/v1/payment_intents/pi_1/cancel"),
        (Step.FETCH, "GET", "/v1/payment_intents/pi_1"),
        (Step.LIST_RECENT, "GET", "/v1/payment_intents"),
        (Step.LIST_EVENTS, "GET", "/v1/events"),
        (Step.LIST_LINES, "GET", "/v1/balance_transactions"),
        (Step.LIST_PAYOUT_LINES, "GET", "/v1/balance_transactions"),
        (Step.FETCH_PAYOUT, "GET", "/v1/payouts/pi_1"),
        (Step.FETCH_BALANCE, "GET", "/v1/balance"),
    ],
)
def test_every_step_has_its_address(operation, step, method, path):
    request = build(step, operation | {"created_after": 1, "payout": "po_1"})
    assert (request.method, request.path) == (method, path)


def test_every_step_of_the_protocol_can_be_prepared(operation):
    refund = {
        "reason": "requested",
        "metadata": {**operation["metadata"], "refund_id": operation["metadata"]["payment_id"]},
    }
    for step in Step:
        given = refund if step is Step.REFUND else {"created_after": 1, "payout": "po_1"}
        assert build(step, operation | given).step is step


@pytest.mark.parametrize("step", sorted(set(Step) - {Step.LIST_RECENT} - set(OF_A_PAYMENT) - set(OF_ACCOUNT)))
def test_every_reply_brings_the_charge_and_its_balance_transaction(operation, step):
    assert build(step, operation).params["expand"] == EXPAND


def test_the_same_operation_gives_the_same_request_whatever_the_order_of_its_keys(operation):
    turned = dict(reversed(json.loads(json.dumps(operation)).items()))
    first, second = build(Step.CREATE, operation), build(Step.CREATE, turned)
    assert first == second
    assert first.params_sha256 == second.params_sha256


def test_another_amount_is_another_request(operation):
    changed = build(Step.CREATE, operation | {"amount": 1051})
    assert changed.params_sha256 != build(Step.CREATE, operation).params_sha256


def test_manual_capture_is_asked_for_by_name(operation):
    assert build(Step.CREATE, operation | {"capture_method": "manual"}).params["capture_method"] == "manual"


def test_a_bank_account_may_set_its_whole_statement_descriptor(operation):
    method = {"type": "us_bank_account", "token": "pm_usBankAccount"}
    params = build(Step.CREATE, operation | {"method": method}).params
    assert params["allowed_payment_method_types"] == ["us_bank_account"]
    assert params["statement_descriptor"] == "CHAIRS"
    assert "statement_descriptor_suffix" not in params


def test_confirm_carries_the_return_url_and_stores_it_without_its_query(operation):
    request = build(Step.CONFIRM, operation)
    assert request.params["return_url"] == "https://shop.example/back?session=abc"
    assert request.redacted["return_url"] == "https://shop.example/back"


def test_a_bank_debit_tells_the_payers_consent_and_does_not_store_where_it_came_from(operation):
    mandate = {"accepted_at": 1_790_000_000, "ip_address": "192.0.2.1", "user_agent": "test"}
    request = build(Step.CONFIRM, operation | {"mandate": mandate})
    acceptance = request.params["mandate_data"]["customer_acceptance"]
    assert acceptance["online"] == {"ip_address": "192.0.2.1", "user_agent": "test"}
    assert "192.0.2.1" not in json.dumps(request.redacted)


def test_a_partial_capture_names_its_amount_and_a_full_one_does_not(operation):
    assert build(Step.CAPTURE, operation | {"amount_to_capture": 600}).params["amount_to_capture"] == 600
    assert "amount_to_capture" not in build(Step.CAPTURE, operation).params


@pytest.mark.parametrize("ours, theirs", CANCELLATION_REASON.items())
def test_our_cancel_reasons_are_told_in_stripes_words(operation, ours, theirs):
    assert build(Step.CANCEL, operation | {"reason": ours}).params["cancellation_reason"] == theirs


def test_a_cancel_without_a_reason_was_requested_and_a_close_abandoned(operation):
    assert build(Step.CANCEL, operation).params["cancellation_reason"] == "requested_by_customer"
    assert build(Step.CLOSE, operation).params["cancellation_reason"] == "abandoned"


@pytest.mark.parametrize(
    "moment", [1_790_000_000, "2026-09-21T14:13:20+00:00", datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)]
)
def test_a_list_starts_at_a_time_however_it_was_stored(operation, moment):
    params = build(Step.LIST_RECENT, operation | {"created_after": moment, "starting_after": "pi_9"}).params
    assert params["created"] == {"gte": 1_790_000_000}
    assert params["starting_after"] == "pi_9"
    assert params["expand"] == [f"data.{name}" for name in EXPAND]


@pytest.mark.parametrize(
    "currency, ours, stripes",
    [("usd", 1050, 1050), ("jpy", 1050, 1050), ("kwd", 1230, 1230), ("isk", 70, 7000), ("mga", 250000, 2500)],
)
def test_amounts_are_sent_in_stripes_units(operation, currency, ours, stripes):
    assert build(Step.CREATE, operation | {"currency": currency, "amount": ours}).params["amount"] == stripes
    capture = operation | {"currency": currency, "amount_to_capture": ours}
    assert build(Step.CAPTURE, capture).params["amount_to_capture"] == stripes


@pytest.mark.parametrize("currency, amount", [("mga", 250001), ("kwd", 1231)])
def test_an_amount_that_stripe_cannot_express_is_refused_before_it_is_sent(operation, currency, amount):
    with pytest.raises(AmountRefused):
        build(Step.CREATE, operation | {"currency": currency, "amount": amount})


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 0}, {"amount": 10.5}, {"amount": True}, {"currency": ""}, {"method": {"type": "ach", "token": "x"}},
        {"method": {"type": "card"}}, {"capture_method": "later"}, {"metadata": {}}, {"metadata": {"payment_id": "1"}},
    ],
)  # fmt: skip
def test_a_broken_operation_is_never_sent(operation, change):
    with pytest.raises(Invalid):
        build(Step.CREATE, operation | change)


@pytest.mark.parametrize("ref", [None, "", "pi_1/confirm", "../charges", "pi_1?x=1"])
def test_a_reference_cannot_lead_elsewhere(operation, ref):
    with pytest.raises(Invalid):
        build(Step.FETCH, operation, ref=ref)


@pytest.mark.parametrize("key", [None, "", "k" * 256])
def test_nothing_is_changed_without_a_usable_key_of_ours(operation, key):
    with pytest.raises(Invalid):
        build(Step.CONFIRM, operation, key=key)


PARAMS = {
    Step.CREATE: stripe.params.PaymentIntentCreateParams,
    Step.CONFIRM: stripe.params.PaymentIntentConfirmParams,
    Step.CAPTURE: stripe.params.PaymentIntentCaptureParams,
    Step.CANCEL: stripe.params.PaymentIntentCancelParams,
    Step.CLOSE: stripe.params.PaymentIntentCancelParams,
    Step.FETCH: stripe.params.PaymentIntentRetrieveParams,
    Step.LIST_RECENT: stripe.params.PaymentIntentListParams,
}


@pytest.mark.parametrize("step", PARAMS)
def test_every_parameter_is_one_that_the_sdk_knows(operation, step):
    everything = operation | {"created_after": 1, "created_before": 2, "starting_after": "pi_9", "amount_to_capture": 1}
    assert set(build(step, everything).params) <= set(PARAMS[step].__annotations__)


def test_our_words_for_stripes_values_are_all_that_the_sdk_names():
    reasons = str(PARAMS[Step.CANCEL].__annotations__["cancellation_reason"])
    assert all(f"'{reason}'" in reasons for reason in CANCELLATION_REASON.values())
    methods = str(PARAMS[Step.CREATE].__annotations__["allowed_payment_method_types"])
    assert all(f"'{kind}'" in methods for kind in ("card", "us_bank_account"))
