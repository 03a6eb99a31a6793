"""Nothing that is not on the list is stored, however deep it hides."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.stripe import redaction
from app.providers.stripe.redaction import MAX_TEXT, SHAPES, redact_reply, redact_request, redact_text, redact_url

SECRET = "S3CRETvalue"
FORBIDDEN = [
    "client_secret", "number", "cvc", "account_number", "routing_number", "billing_details", "email", "receipt_email",
    "name", "phone", "address", "fingerprint", "exp_month", "redirect_to_url", "use_stripe_sdk", "url", "receipt_url",
    "shipping", "customer", "secret", "authorization_code", "return_url",
]  # fmt: skip
NAMES = st.sampled_from(sorted({name for shape in SHAPES.values() for name in shape} - {"id", "object"}))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)


@st.composite
def objects(draw, inner=LEAVES):
    """An object of a known or unknown type with a secret under each forbidden name and children under allowed ones."""
    kind = draw(st.sampled_from([*SHAPES, "something_new"]))
    body = {"id": "x_1", "object": kind} | draw(st.dictionaries(NAMES, inner, max_size=6))
    body |= {
        name: draw(st.sampled_from([SECRET, [SECRET], {"any": SECRET}]))
        for name in draw(st.sets(st.sampled_from(FORBIDDEN)))
    }
    return body


TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | objects(inner), max_leaves=25)


@given(objects(TREES))
def test_a_secret_never_survives_wherever_it_hides(body):
    stored = redact_reply(body)
    assert SECRET not in json.dumps(stored)
    assert stored["object"] == body["object"]


@given(objects(TREES))
def test_what_is_stored_is_json_that_a_database_takes(body):
    text = json.dumps(redact_reply(body), allow_nan=False)
    assert "\\u0000" not in text
    text.encode()


@given(objects(TREES))
def test_redacting_twice_changes_nothing(body):
    once = redact_reply(body)
    assert redact_reply(once) == once


@given(st.text() | st.sampled_from(["\x00", "\ud800"]))
def test_any_text_becomes_one_that_can_be_stored(text):
    redacted = redact_text(text)
    redacted.encode()
    assert "\x00" not in redacted


@pytest.mark.parametrize(
    "text, stored",
    [
        ("Invalid API Key provided: sk_test_abc123", "Invalid API Key provided: sk_test_[removed]"),
        ("rk_live_Zz9 and whsec_abc/+=", "rk_live_[removed] and whsec_[removed]"),
        ("pi_123_secret_AbC9", "pi_123_secret_[removed]"),
        ("card 4242424242424242!", "card [number removed]!"),
        ("card 4242 4242 4242 4242", "card [number removed]"),
        ("order 4242424242424243", "order 4242424242424243"),
        ("pi_00000000000000000042", "pi_00000000000000000042"),
        ("write to jo.doe@example.com", "write to [email removed]"),
        ("Your card was declined.", "Your card was declined."),
    ],
)
def test_a_text_loses_its_secrets_and_nothing_else(text, stored):
    assert redact_text(text) == stored


PIECES = (
    "sk_test_",
    "k_live_a",
    "whsec_",
    "_secret_x",
    "@",
    "a@b.de",
    "4242",
    "42 42-42",
    "٤٢٤٢",
    "\x00",
    "\ud800",
    " ",
    "a",
)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text())
def test_what_is_not_looked_at_closely_holds_nothing_to_remove(text):
    if not redaction._SUSPECT.search(text):
        patterns = [redaction._UNSTORABLE, redaction._NUMBER, *(pattern for pattern, _ in redaction._SECRETS)]
        assert not any(pattern.search(text) for pattern in patterns)


def test_a_long_text_is_cut():
    assert len(redact_text("x" * 5_000)) == MAX_TEXT


def test_the_last_four_digits_stay(charge):
    stored = redact_reply(charge())
    assert stored["payment_method_details"]["card"]["last4"] == "4242"
    assert "billing_details" not in stored


def test_bank_and_card_details_are_stored_by_their_last_four_digits_only(charge):
    secret = {
        "account_number": SECRET,
        "routing_number": SECRET,
        "number": SECRET,
        "cvc": SECRET,
        "fingerprint": SECRET,
    }
    for kind in ("card", "us_bank_account"):
        details = {"type": kind, kind: secret | {"last4": "6789"}}
        stored = redact_reply(charge(payment_method_details=details))
        assert stored["payment_method_details"] == {"type": kind, kind: {"last4": "6789"}}


def test_a_number_that_is_none_is_not_stored(charge):
    assert "amount" not in redact_reply(charge(amount=float("inf")))


def test_objects_inside_objects_end_somewhere(intent, charge):
    body = charge()
    for _ in range(400):
        body = intent(latest_charge=charge(payment_intent=body))
    assert len(json.dumps(redact_reply(body))) < 10_000


def test_the_page_to_visit_is_not_stored_but_its_kind_is(intent):
    action = {"type": "redirect_to_url", "redirect_to_url": {"url": "https://hooks.example/" + SECRET}}
    assert redact_reply(intent(next_action=action))["next_action"] == {"type": "redirect_to_url"}


def test_of_the_metadata_only_our_ids_are_stored(intent):
    stored = redact_reply(intent(metadata={"payment_id": "p", "note": SECRET}))
    assert stored["metadata"] == {"payment_id": "p"}


def test_an_error_reply_keeps_its_codes_and_its_payment(intent):
    stored = redact_reply(
        {"error": {"type": "card_error", "decline_code": "fraudulent", "doc_url": "x", "payment_intent": intent()}}
    )
    assert stored["error"]["decline_code"] == "fraudulent"
    assert stored["error"]["payment_intent"]["id"] == "pi_1"
    assert "client_secret" not in stored["error"]["payment_intent"]
    assert "doc_url" not in stored["error"]


@pytest.mark.parametrize("body", [None, [], "text", 1])
def test_what_is_no_object_is_not_stored(body):
    assert redact_reply(body) is None


def test_a_request_keeps_only_what_is_named():
    assert redact_request({"amount": 1, "payment_method_data": {"card": SECRET}}) == {"amount": 1}


@pytest.mark.parametrize(
    "url, stored",
    [
        ("https://jo:pw@shop.example:8443/back?token=1#x", "https://shop.example:8443/back"),
        ("https://shop.example/back", "https://shop.example/back"),
        ("https://[broken", "[unreadable URL]"),
    ],
)
def test_a_url_is_stored_without_what_could_be_a_session(url, stored):
    assert redact_url(url) == stored
