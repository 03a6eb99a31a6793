"""Every string and number of every body, malformed in every way: refused as a problem, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.counting import counts
from tests.contract.fields import ITEM, Body, bodies, scheme_of, send
from tests.gateway.documented import document

VISA = "4242424242424242"
# Beyond every bound of ours, and within the limit on bodies.
LONG = 30_000

Schema = dict[str, Any]


def text_only(fragment: str) -> Callable[[Schema], str | None]:
    return lambda schema: fragment if schema["type"] == "string" else None


def number_only(fragment: str) -> Callable[[Schema], str | None]:
    return lambda schema: fragment if schema["type"] != "string" else None


def anywhere(fragment: str) -> Callable[[Schema], str | None]:
    return lambda schema: fragment


# Class -> the raw JSON that is put in a field's place, or None where the class means nothing for it.
CLASSES: dict[str, Callable[[Schema], str | None]] = {
    "NUL": anywhere(r'"a\u0000b"'),
    "half a surrogate pair": anywhere(r'"a\ud800b"'),
    "surrogates as bytes": anywhere('"a\ud800b"'),
    "too long": lambda schema: f'"{"a" * LONG}"' if schema["type"] == "string" else "9" * 5_000,
    "number for text": text_only("7"),
    "text for number": number_only('"7"'),
    "boolean": anywhere("true"),
    "float": anywhere("1.5"),
    "whole float": anywhere("1000.0"),
    "exponent": anywhere("1e3"),
    "negative": anywhere("-1"),
    "zero": lambda schema: "0" if schema["type"] != "string" and schema.get("minimum", 1) > 0 else None,
    "beyond 2^53-1": anywhere(str(2**53)),
    "deep nesting": anywhere("[" * 40 + "]" * 40),
    "deeper than any stack": anywhere("[" * 20_000),
    "null": anywhere("null"),
    "object": anywhere("{}"),
    "array": anywhere("[]"),
    "NaN": anywhere("NaN"),
    "Infinity": anywhere("-Infinity"),
    "empty": text_only('""'),
    "no JSON": anywhere("'a'"),
    "cut off": anywhere('"a'),
}
# Stripe's own: how long it may be is Stripe's to say.
FREE = {("POST /webhooks/stripe/{account}", "too long")}


def cases(body: Body) -> list[tuple[str, bytes]]:
    made = []
    for path, schema in body.fields():
        for name, fragment in CLASSES.items():
            raw = fragment(schema)
            if raw is not None and (str(body), name) not in FREE:
                made.append((f"{'.'.join(path)}: {name}", body.with_raw(path, raw)))
        if path[-1] != ITEM:
            twice = body.with_raw(path, f'"a", "{path[-1]}": "a"')
            made.append((f"{'.'.join(path)}: twice", twice))
    return made


def is_refused(answer: Any) -> bool:
    return answer.status_code in (400, 413, 422) and answer.content_type == "application/problem+json"


def test_every_operation_with_a_body_is_among_them() -> None:
    described = {
        f"{method.upper()} {route}"
        for route, methods in document()["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    }
    assert {str(body) for body in bodies()} == described
    assert {scheme_of(body) for body in bodies()} == {"apiKey", "session", "webhookSignature", "nobody"}
    assert all(len(body.fields()) > 0 for body in bodies())


@pytest.mark.parametrize("body", bodies(), ids=str)
def test_a_malformed_field_is_refused_and_nothing_is_written(client, callers, sql, body):
    before = counts(sql)
    answers = {name: send(client, callers, body, raw) for name, raw in cases(body)}
    assert [f"{name}: {answer.status_code}" for name, answer in answers.items() if not is_refused(answer)] == []
    assert counts(sql) == before


def spelled(schema: Schema) -> str:
    """A card number in the field's own form where it has one, so that nothing but the number is wrong."""
    if "://" in schema.get("pattern", ""):
        return f"https://shop.example/?card={VISA}"
    return f"CARD{VISA}"


# What Stripe sends is Stripe's, and only its names are read.
@pytest.mark.parametrize("body", [body for body in bodies() if scheme_of(body) != "webhookSignature"], ids=str)
def test_a_card_number_is_refused_in_every_text_of_every_body(client, callers, sql, body):
    before = counts(sql)
    texts = [(path, schema) for path, schema in body.fields() if schema["type"] == "string"]
    for path, schema in texts:
        answer = send(client, callers, body, body.with_raw(path, f'"{spelled(schema)}"'))
        assert is_refused(answer), path
        assert VISA not in answer.text
    assert counts(sql) == before


def texts_of_queries() -> list[tuple[str, str]]:
    """Every text in a query of a merchant's, as (route, name)."""
    return [
        (route, parameter["name"])
        for route, methods in document()["paths"].items()
        if {"apiKey": [*_scopes(methods)]} in methods.get("get", {}).get("security", [])
        for parameter in methods["get"]["parameters"]
        if parameter.get("in") == "query" and parameter["schema"]["type"] == "string"
    ]


def _scopes(methods: dict[str, Any]) -> list[str]:
    return [scope for names in methods.get("get", {}).get("security", []) for scope in names.get("apiKey", [])]


@pytest.mark.parametrize("route, name", texts_of_queries())
def test_a_card_number_is_refused_in_every_text_of_every_query(api, route, name):
    answer = api.get(route.replace("{payment_id}", "pay_" + "0" * 32), **{name: VISA})
    assert is_refused(answer)
    assert VISA not in answer.text


def test_a_card_number_is_no_idempotency_key_and_no_request_id(api, sql):
    answer = api.post("/v1/payments", key=VISA)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "idempotency_key_malformed")
    assert api.get("/v1/payments").headers["X-Request-Id"] != VISA
    told = api.post("/v1/payments", X_Request_Id=VISA)
    assert VISA not in (told.headers["X-Request-Id"], told.text)
