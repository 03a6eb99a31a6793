"""What a body may hold: nothing that another parser could read differently, and nothing that becomes a 500."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.gateway.problems import MalformedBody
from app.gateway.strict_json import LARGEST, MAX_DEPTH, canonical, parse
from tests.gateway.conftest import CARD

storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-LARGEST, LARGEST)
    | storable
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars, lambda part: st.lists(part, max_size=4) | st.dictionaries(storable, part, max_size=4), max_leaves=12
)


@given(values)
def test_plain_json_is_read_as_it_is(value):
    assert parse(json.dumps(value).encode()) == json.loads(json.dumps(value))


@given(st.dictionaries(storable, st.integers(-LARGEST, LARGEST)))
def test_order_and_spelling_do_not_change_the_canonical_form(value):
    turned = dict(reversed(value.items()))
    assert canonical(parse(json.dumps(turned, ensure_ascii=False, indent=1).encode())) == canonical(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"nul", b"{'a': 1}", b"{} {}", b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"\xff", b'{"a": NaN}',
        b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1, "a": 1}', b'{"a": {"b": 1, "b": 2}}', b'"\\u0000"',
        b'{"\\u0000": 1}', b'"\\ud800"', b'{"a": ["\\udc00\\ud800"]}', b"9007199254740992", b"-9007199254740992",
        b"1" * 5_000, b"[" * 50_000, b'{"a":' * 20_000,
    ],
)  # fmt: skip
def test_what_is_ambiguous_or_cannot_be_stored_is_refused(raw):
    with pytest.raises(MalformedBody):
        parse(raw)


@pytest.mark.parametrize("inside", [b"", b"1"])
def test_the_depth_is_bounded_exactly(inside):
    parse(b"[" * MAX_DEPTH + inside + b"]" * MAX_DEPTH)
    with pytest.raises(MalformedBody):
        parse(b"[" * (MAX_DEPTH + 1) + inside + b"]" * (MAX_DEPTH + 1))


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_or_refused(raw):
    try:
        parse(raw)
    except MalformedBody:
        return


awkward = st.sampled_from([0, -1, True, 1.0, 1e300, LARGEST, "1000", "", "\u2028", [], {}, None, "4242424242424242"])
method = st.fixed_dictionaries({}, optional={"type": awkward | st.just("card"), "token": awkward | storable})
urls = st.sampled_from(["https://a", "ftp://a", "http://[", "https://a:99999", "//a"])
bodies = st.fixed_dictionaries(
    {},
    optional={
        "amount": awkward | st.integers(-LARGEST, LARGEST),
        "currency": awkward | st.sampled_from(["usd", "jpy", "USD", "us\n"]),
        "method": awkward | method,
        "capture_method": awkward | st.sampled_from(["manual", "automatic"]),
        "return_url": awkward | storable | urls,
        "reference": awkward | storable,
        "description": awkward | storable,
        "statement_descriptor": awkward | storable,
        "metadata": awkward | st.dictionaries(storable, awkward | storable, max_size=3),
        "surplus": awkward,
    },
)  # fmt: skip
within_an_app = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@within_an_app
@given(body=values | bodies | bodies.map(lambda changes: CARD | changes))
def test_any_json_body_is_answered_properly(api, body):
    answer = api.post("/v1/payments", body)
    assert answer.status_code in (201, 400, 422), answer.text
    if answer.status_code != 201:
        assert answer.content_type == "application/problem+json"
        assert answer.get_json()["status"] == answer.status_code


@within_an_app
@given(raw=st.binary(max_size=300))
def test_any_bytes_as_a_body_are_answered_properly(api, raw):
    for path in ("/v1/payments", "/v1/payments/pay_x/capture"):
        assert api.post_raw(path, raw).status_code in (400, 404, 422)


@pytest.mark.parametrize(
    "member", ["true", "1.0", "1e3", '"1000"', "null", "0", "-5", "[]", "9007199254740992", "1000.5", "1" * 5_000]
)
def test_an_amount_is_a_positive_json_integer(api, member):
    raw = json.dumps(CARD | {"amount": "AMOUNT"}).replace('"AMOUNT"', member).encode()
    answer = api.post_raw("/v1/payments", raw)
    assert answer.status_code in (400, 422)
    if answer.status_code == 422:
        assert [error["pointer"] for error in answer.get_json()["errors"]] == ["/amount"]


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"a"', b"true", b"[{}]"])
def test_a_body_that_is_no_object_is_refused(api, raw):
    assert api.post_raw("/v1/payments", raw).status_code == 422


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "x"],
)
def test_another_media_type_is_refused(api, content_type):
    answer = api.post_raw("/v1/payments", b"{}", Content_Type=content_type)
    assert (answer.status_code, answer.get_json()["code"]) == (415, "unsupported_media_type")


def test_a_compressed_body_is_refused(api):
    assert api.post_raw("/v1/payments", b"{}", Content_Encoding="gzip").status_code == 415


def test_a_charset_in_the_media_type_is_fine(api):
    raw = json.dumps(CARD).encode()
    assert api.post_raw("/v1/payments", raw, Content_Type="application/json; charset=utf-8").status_code == 201


def test_a_body_over_64_kib_is_refused(api):
    answer = api.post_raw("/v1/payments", b" " * (64 * 1024 + 1))
    assert (answer.status_code, answer.get_json()["code"]) == (413, "body_too_large")
    assert api.post_raw("/v1/payments", b" " * (64 * 1024)).status_code == 400
