"""What may be read but not set is refused wherever it is put, once or twice, by whomever; nothing is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.counting import counts
from tests.contract.fields import Body, bodies, resolved, send
from tests.gateway.documented import document

BODIES = [body for body in bodies() if resolved(body.schema).get("additionalProperties") is False]


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


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_each_is_refused_when_it_is_there_twice(client, callers, sql, body):
    before = counts(sql)
    for place in body.objects():
        for name in sorted(read_only() - accepted(body, place)):
            answer = send(client, callers, body, with_members(body, place, [name, name]))
            assert answer.status_code == 400, (place, name)
    assert counts(sql) == before


def test_there_is_a_body_with_an_object_inside() -> None:
    assert any(len(body.objects()) > 1 for body in BODIES)
    assert {"state", "version", "amount_refunded", "livemode"} <= read_only()
