"""The shape of a payment request, member by member, and what each refusal points at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.card_numbers import holds_card_number
from tests.gateway.conftest import CARD

VISA = "4242424242424242"


@pytest.mark.parametrize(
    "changes, pointer, code",
    [
        ({"currency": "USD"}, "/currency", "invalid"),
        ({"currency": "usd\n"}, "/currency", "invalid"),
        ({"method": {"type": "cash", "token": "t"}}, "/method/type", "invalid"),
        ({"method": {"type": "card"}}, "/method/token", "required"),
        ({"method": {"type": "card", "token": "a b"}}, "/method/token", "invalid"),
        ({"method": {"type": "card", "token": VISA}}, "/method/token", "card_number_refused"),
        ({"method": "card"}, "/method", "invalid"),
        ({"capture_method": "later"}, "/capture_method", "invalid"),
        ({"return_url": "ftp://shop.example"}, "/return_url", "invalid"),
        ({"return_url": "javascript:alert(1)"}, "/return_url", "invalid"),
        ({"return_url": "https://user:secret@shop.example"}, "/return_url", "invalid"),
        ({"return_url": "https://shop.example/a b"}, "/return_url", "invalid"),
        ({"return_url": "https://shop.example/" + "a" * 2_000}, "/return_url", "invalid"),
        ({"reference": ""}, "/reference", "invalid"),
        ({"reference": None}, "/reference", "null"),
        ({"reference": "r" * 201}, "/reference", "invalid"),
        ({"description": "d" * 1_001}, "/description", "invalid"),
        ({"statement_descriptor": "123"}, "/statement_descriptor", "invalid"),
        ({"statement_descriptor": "SHOP <1>"}, "/statement_descriptor", "invalid"),
        ({"statement_descriptor": "S" * 23}, "/statement_descriptor", "invalid"),
        ({"metadata": {"cart": 7}}, "/metadata/cart", "invalid"),
        ({"metadata": {"cart": None}}, "/metadata/cart", "null"),
        ({"metadata": {"a/b~c": {}}}, "/metadata/a~1b~0c", "invalid"),
        ({"metadata": {"k" * 41: "v"}}, "/metadata/" + "k" * 41, "invalid"),
        ({"metadata": {"cart": "v" * 501}}, "/metadata/cart", "invalid"),
        ({"metadata": {str(n): "v" for n in range(51)}}, "/metadata", "invalid"),
        ({"metadata": ["a"]}, "/metadata", "invalid"),
        ({"colour": "red"}, "/colour", "unknown_member"),
        ({"method": {"type": "card", "token": "t", "cvc": "123"}}, "/method/cvc", "unknown_member"),
    ],
)
def test_a_refusal_points_at_the_member(api, changes, pointer, code):
    answer = api.post("/v1/payments", CARD | changes)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid")
    assert [(error["pointer"], error["code"]) for error in answer.get_json()["errors"]] == [(pointer, code)]


def test_every_missing_member_is_named(api):
    listed = api.post("/v1/payments", {}).get_json()["errors"]
    assert {(error["pointer"], error["code"]) for error in listed} == {
        ("/amount", "required"), ("/currency", "required"), ("/method", "required"), ("/return_url", "required"),
    }  # fmt: skip


def test_everything_at_its_bound_is_accepted(api):
    made = api.create(
        reference="r" * 200,
        description="d" * 1_000,
        statement_descriptor="S" * 22,
        return_url="http://127.0.0.1:8000/" + "a" * 1_978,
        metadata={f"k{n:039d}": "v" * 500 for n in range(50)},
        capture_method="manual",
    )
    assert (len(made["metadata"]), made["capture_method"]) == (50, "manual")


def test_text_comes_back_as_it_was_sent(api):
    text = "Grüße, 東京 \u2028 \U0001f600 \"'\\ \n</script>"
    made = api.create(description=text, metadata={text: text})
    assert (made["description"], made["metadata"]) == (text, {text: text})


@pytest.mark.parametrize("where", ["reference", "description", "statement_descriptor", "return_url", "metadata"])
def test_a_card_number_is_refused_wherever_text_is_stored(api, sql, where):
    spelled = {"return_url": f"https://shop.example/?card={VISA}", "statement_descriptor": f"CARD {VISA}"}
    value = {"number": f"card {VISA}"} if where == "metadata" else spelled.get(where, f"card {VISA}")
    answer = api.post("/v1/payments", CARD | {where: value})
    assert answer.status_code == 422
    assert [error["code"] for error in answer.get_json()["errors"]] == ["card_number_refused"]
    assert VISA not in answer.text


def test_a_card_number_as_the_name_of_a_member_is_not_echoed(api):
    for body in (CARD | {VISA: 1}, CARD | {"metadata": {VISA: "a"}}):
        answer = api.post("/v1/payments", body)
        assert answer.status_code == 422
        assert VISA not in answer.text


@pytest.mark.parametrize(
    "text",
    [
        VISA, "4242 4242 4242 4242", "4242-4242-4242-4242", f"x{VISA}y", f"order 7 {VISA}", "378282246310005",
        "4222222222222", "6011000990139424", "4000000000000000006", "４２４２４２４２４２４２４２４２",
    ],
)  # fmt: skip
def test_card_numbers_are_found_however_they_are_written(text):
    assert holds_card_number(text)


@pytest.mark.parametrize(
    "text", ["", "order 42", "4242424242424241", "4242  4242  4242  4242", "424242424242", "pm_card_visa", "4242" * 5]
)
def test_other_numbers_are_no_card_numbers(text):
    assert not holds_card_number(text)


@given(st.uuids().filter(lambda identity: not identity.hex.isdigit()))
def test_no_uuid_is_taken_for_a_card_number(identity):
    for text in (str(identity), identity.hex, f"pay_{identity.hex}", str(identity).upper()):
        assert not holds_card_number(text)


def test_a_card_number_behind_a_uuid_or_shaped_like_one_is_found():
    assert holds_card_number(f"019abc3e-5f7a-7c41-b2f0-9d8e6a1b2c3d {VISA}")
    assert holds_card_number("42424242-4242-4242-4242-424242424242")


@given(st.text(st.sampled_from("0123456789 -"), max_size=400))
def test_any_text_is_judged_in_bounded_time(text):
    holds_card_number(text)
