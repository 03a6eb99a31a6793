"""What may be read but not set is refused wherever it is put, once or twice, by whomever; nothing is written."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from apiflask import APIFlask
from marshmallow import Schema

from app.gateway.problems import MalformedBody
from app.gateway.strict_json import parse
from tests.contract.counting import counts
from tests.contract.fields import Body, bodies, resolved, send
from tests.gateway.documented import document

# Bodies that may hold more than we read, and why.
OPEN = {"POST /webhooks/stripe/{account}": "Stripe's own event, which grows without asking us; we store it as it is"}
BODIES = [body for body in bodies() if resolved(body.schema).get("additionalProperties") is False]
# Each object of each, itself first.
PLACES = [(body, place) for body in BODIES for place in body.objects()]


def read_only() -> set[str]:
    """Every member of every answer, however deep; Problems are not ours to set either."""
    return {name for schema in document()["components"]["schemas"].values() for name in schema.get("properties", {})}


def columns(sql: Any) -> set[str]:
    """Every column of a tenant's table: what a careless mapper would write."""
    rows = sql.execute(
        "select distinct column_name as name from information_schema.columns where table_schema = 'postbox'"
    ).fetchall()
    return {row["name"] for row in rows}


def accepted(body: Body, place: tuple[str, ...]) -> set[str]:
    schema = resolved(body.schema)
    for name in place:
        schema = resolved(schema["properties"][name])
    return set(schema["properties"])


def with_members(body: Body, place: tuple[str, ...], members: list[str]) -> bytes:
    """The example with more members in one of its objects."""
    inner: Any = body.example
    for step in place:
        inner = inner[step]
    more = ", ".join(f'{json.dumps(name)}: "x"' for name in members)
    grown = f"{{{more}{', ' if inner else ''}{json.dumps(inner)[1:]}"
    return body.with_raw(place, grown) if place else grown.encode()


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_each_is_named_as_unknown_in_every_object(client, callers, sql, body):
    before = counts(sql)
    for place in body.objects():
        names = sorted((read_only() | columns(sql)) - accepted(body, place))
        answer = send(client, callers, body, with_members(body, place, names))
        assert answer.status_code == 422
        unknown = {e["pointer"] for e in answer.get_json()["errors"] if e["code"] == "unknown_member"}
        assert unknown == {"/" + "/".join((*place, name)) for name in names}
    assert counts(sql) == before


def test_each_is_refused_alone(app, sql):
    """Asked of the schema that the route reads bodies with: one that is refused cannot hide another that is not."""
    for body, place in PLACES:
        schema = read_with(app, body)
        assert schema.validate(body.example) == {}
        for name in sorted((read_only() | columns(sql)) - accepted(body, place)):
            refused: Any = schema.validate(json.loads(with_members(body, place, [name])))
            for step in place:
                refused = refused.get(step, {})
            assert list(refused) == [name], (str(body), place, name)


def read_with(app: APIFlask, body: Body) -> Schema:
    """The schema that APIFlask gives the body of this operation to."""
    [rule] = [
        rule for rule in app.url_map.iter_rules()
        if re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule) == body.route and body.method in (rule.methods or ())
    ]  # fmt: skip
    schema = app.view_functions[rule.endpoint]._spec["body"]  # type: ignore[attr-defined]
    assert isinstance(schema, Schema)
    return schema


def test_each_is_refused_when_it_is_there_twice(client, callers, sql):
    """By what reads all bodies, whatever it is called; of each object one is sent, and never gets past it."""
    before = counts(sql)
    for body, place in PLACES:
        twice = [with_members(body, place, [name, name]) for name in sorted(read_only() - accepted(body, place))]
        for raw in twice:
            with pytest.raises(MalformedBody, match="twice"):
                parse(raw)
        assert send(client, callers, body, twice[0]).get_json()["code"] == "malformed_json", (str(body), place)
    assert counts(sql) == before


def test_every_body_is_closed_but_those_with_a_reason() -> None:
    assert {str(body) for body in bodies()} - {str(body) for body in BODIES} == set(OPEN)


def test_there_is_a_body_with_an_object_inside() -> None:
    assert any(place for _, place in PLACES)
    assert {"state", "version", "amount_refunded", "livemode"} <= read_only()
