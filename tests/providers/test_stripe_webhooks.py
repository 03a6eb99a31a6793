"""Which webhooks are believed, and what they are about."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from app.errors import WebhookRefused
from app.providers.stripe import StripeProvider

SECRET, OLD_SECRET = "whsec_new", "whsec_old"
NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
PROVIDER = StripeProvider("sk_test_postbox", account="default", webhook_secrets=(SECRET, OLD_SECRET))


def signature(raw: bytes, secret: str = SECRET, at: datetime = NOW) -> str:
    signed = b"%d." % int(at.timestamp()) + raw
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def sign(raw: bytes, secret: str = SECRET, at: datetime = NOW) -> dict[str, str]:
    """The headers Stripe sends with `raw`."""
    return {"Stripe-Signature": f"t={int(at.timestamp())},v1={signature(raw, secret, at)}"}


def parse(raw: bytes, headers: dict[str, str] | None = None, now: datetime = NOW):
    return PROVIDER.parse_webhook(raw, sign(raw) if headers is None else headers, now=now)


def reason(raw: bytes, headers: dict[str, str] | None = None, now: datetime = NOW) -> object:
    with pytest.raises(WebhookRefused) as refused:
        parse(raw, headers, now)
    return refused.value.extra["reason"]


@pytest.fixture(scope="module")
def event(intent):
    def build(body=None, **changes) -> bytes:
        whole = {
            "id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "api_version": "2026-10-28.endive",
            "created": 1_790_000_000, "livemode": False, "data": {"object": intent() if body is None else body},
        } | changes  # fmt: skip
        return json.dumps(whole).encode()

    return build


def test_a_signed_event_tells_what_it_is_about(event, operation):
    read = parse(event())
    assert (read.event_id, read.type, read.account) == ("evt_1", "payment_intent.succeeded", "default")
    assert (read.object_id, read.object_type, read.payment_ref) == ("pi_1", "payment_intent", "pi_1")
    assert read.payment_id == operation["metadata"]["payment_id"]
    assert read.merchant_id == operation["metadata"]["merchant_id"]
    assert read.created_at == datetime.fromtimestamp(1_790_000_000, UTC)
    assert "client_secret" not in read.payload["data"]["object"]


def test_the_sdk_signs_as_we_verify(event):
    raw = event()
    header = stripe.WebhookSignature.generate_signature_header(raw.decode(), SECRET, int(NOW.timestamp()))
    assert parse(raw, {"stripe-signature": header}).event_id == "evt_1"


@pytest.mark.parametrize("kind", ["charge", "refund", "dispute"])
@pytest.mark.parametrize("payment", ["pi_7", {"id": "pi_7", "object": "payment_intent"}])
def test_what_belongs_to_a_payment_names_it(event, kind, payment):
    assert parse(event({"id": "x_1", "object": kind, "payment_intent": payment})).payment_ref == "pi_7"


@pytest.mark.parametrize("body", [{"id": "po_1", "object": "payout"}, {"object": "balance"}, {}])
def test_what_belongs_to_no_payment_names_none(event, body):
    read = parse(event(body))
    assert (read.payment_ref, read.payment_id) == (None, None)


def test_an_event_type_we_never_heard_of_is_no_reason_to_refuse(event):
    assert parse(event(type="moon.waned")).type == "moon.waned"


def test_both_secrets_are_good_while_they_rotate(event):
    raw = event()
    both = f"t={int(NOW.timestamp())},v1={'0' * 64},v1={signature(raw, OLD_SECRET)},v0=abc"
    assert parse(raw, {"STRIPE-SIGNATURE": both}).event_id == "evt_1"
    assert parse(raw, sign(raw, OLD_SECRET)).event_id == "evt_1"


def test_a_stranger_is_refused(event):
    raw = event()
    assert reason(raw, sign(raw, "whsec_strangers")) == "bad_signature"
    assert reason(raw, {}) == "bad_signature"
    assert reason(raw + b" ", sign(raw)) == "bad_signature"
    assert reason(raw, {"Stripe-Signature": f"t={int(NOW.timestamp())},v0={signature(raw)}"}) == "bad_signature"


def test_without_a_secret_nothing_is_believed(event):
    raw = event()
    for secrets in ((), ("",)):
        bare = StripeProvider("sk_test_postbox", account="default", webhook_secrets=secrets)
        with pytest.raises(WebhookRefused):
            bare.parse_webhook(raw, sign(raw, ""), now=NOW)


@pytest.mark.parametrize("seconds, refused", [(300, None), (301, "too_old"), (-300, None), (-301, "too_new")])
def test_the_age_is_bounded_both_ways(event, seconds, refused):
    raw, now = event(), NOW + timedelta(seconds=seconds)
    if refused is None:
        assert parse(raw, sign(raw), now).event_id == "evt_1"
    else:
        assert reason(raw, sign(raw), now) == refused


def test_the_age_of_a_stranger_is_not_told(event):
    raw = event()
    assert reason(raw, sign(raw, "whsec_strangers"), NOW + timedelta(days=1)) == "bad_signature"


@pytest.mark.parametrize(
    "header", ["x", "t=,v1=", "t=soon,v1=ab", "t=1,t=2,v1=ab", "v1=" + "0" * 64, "t=-1,v1=ab", "t=1" + " " * 5000]
)
def test_a_header_that_cannot_be_read_is_malformed(event, header):
    assert reason(event(), {"Stripe-Signature": header}) == "malformed"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\x00", b"not json", b"\xff\xfe", b"[]", b"null", b'{"object":"event"}', b"[" * 100_000, b'{"a":NaN}',
        b'{"id":"evt_1","object":"v2.core.event"}', b'{"a":' * 70 + b"1" + b"}" * 70, b"1" * 5_000,
    ],
)  # fmt: skip
def test_a_body_that_is_no_event_is_malformed(raw):
    assert reason(raw) == "malformed"


@pytest.mark.parametrize(
    "change",
    [
        {"id": None}, {"id": "evt 1"}, {"id": "e" * 256}, {"type": ""}, {"livemode": "no"}, {"created": None},
        {"created": 10**30}, {"created": True}, {"data": None}, {"data": {"object": "pi_1"}}, {"extra": "\x00"},
        {"extra": {"\x00": 1}}, {"extra": ["\ud800"]}, {"extra": float("nan")},
        {"extra": json.loads("[" * 70 + "]" * 70)},
    ],
)  # fmt: skip
def test_an_event_of_the_wrong_shape_is_malformed(event, change):
    assert reason(event(**change)) == "malformed"


@given(st.binary(max_size=200), st.text(max_size=100), st.booleans())
def test_nothing_but_a_refusal_is_ever_raised_for_bytes(raw, header, signed):
    with pytest.raises(WebhookRefused):
        parse(raw, sign(raw) if signed else {"Stripe-Signature": header})


NAMES = st.sampled_from(["id", "object", "payment_intent", "metadata", "payment_id"]) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=20,
)
FIELDS = ("id", "type", "livemode", "created", "data", "api_version")


@given(st.fixed_dictionaries({}, optional={name: JSON for name in FIELDS}))
def test_a_signed_event_of_any_shape_is_read_or_refused(event, changes):
    raw = event(**changes)
    try:
        payload = parse(raw).payload
    except WebhookRefused as refused:
        payload = refused.extra
    json.dumps(dict(payload), allow_nan=False).encode()
