"""Every request leaves one line with its ids, and nothing of what was asked or who asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.gateway import turned_away
from app.gateway.counters import TURNED_AWAY
from tests import factories
from tests.gateway.conftest import CARD

MEMBERS = {
    "event", "log_level", "method", "route", "status", "seconds",
    "request_id", "trace_id", "merchant_id", "key_id", "operator_id",
}  # fmt: skip


def requests_in(lines):
    return [line for line in lines if line["event"] == "request"]


def test_a_request_is_one_line_with_its_ids_and_nothing_of_the_clients(api, lines):
    answer = api.post("/v1/payments?secret=query", CARD | {"reference": "secret-reference"}, X_Request_Id="shop-1")
    assert answer.status_code == 201
    [line] = requests_in(lines)
    assert set(line) == MEMBERS
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/payments", 201)
    assert (line["request_id"], line["merchant_id"], line["key_id"]) == ("shop-1", api.merchant_id, api.key.id)
    assert line["trace_id"] == answer.headers["traceparent"].split("-")[1]
    assert 0 < line["seconds"] < 60
    assert "secret" not in str(line)


@pytest.mark.parametrize(
    "method, path", [("BREW", "/v1/payments"), ("GET", "/cnry-path"), ("GET", "/v1/payments/cnry")]
)
def test_a_strangers_method_path_and_key_are_not_in_it(app, sql, lines, method, path):
    key = factories.api_key(sql, factories.merchant(sql)["id"])
    forged = replace(key, secret="0" * 43).text()
    app.test_client().open(path, method=method, headers={"Authorization": f"Bearer {forged}"})
    [line] = requests_in(lines)
    assert line["status"] >= 400
    assert (line["merchant_id"], line["key_id"]) == (None, None)
    assert not {"BREW", "cnry", key.id} & {str(value) for value in line.values()}
    assert "cnry" not in str(line)


def test_a_thousand_refusals_of_one_kind_are_counted_and_told_of_once(lines):
    before = TURNED_AWAY.labels("test_kind")._value.get()
    for _ in range(1_000):
        turned_away.note("test_kind")
    turned_away.note("another_kind")
    told = [(line["kind"], line["count"]) for line in lines]
    assert told == [("test_kind", 1), ("another_kind", 1)]
    assert TURNED_AWAY.labels("test_kind")._value.get() - before == 1_000


def test_the_next_line_says_how_many_there_were_since(lines):
    for _ in range(3):
        turned_away.tell("now_and_then")
    turned_away._silent_until.clear()  # a second later
    turned_away.tell("now_and_then")
    assert [line["count"] for line in lines] == [1, 3]
