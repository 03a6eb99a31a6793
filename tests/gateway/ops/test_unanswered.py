"""What a person asked for and did not get, for a rate limit or a failure, is noted too; a stranger is not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from app.config import Rate
from tests.gateway.documented import document
from tests.gateway.ops.conftest import Desk
from tests.gateway.ops.test_reads import PLATFORM, VISA, log

MERCHANTS = "/ops/v1/merchants"
BURST = 2
# What every request has of its own.
OWN = {"Date", "X-Request-Id", "traceparent"}

pytestmark = pytest.mark.usefixtures("still")


@pytest.fixture
def settings(settings):
    return replace(settings, rates=replace(settings.rates, operator_read=Rate(1, BURST)))


@pytest.fixture
def spent(desk):
    """A person whose bucket is empty."""

    def make(role: str = "admin") -> Desk:
        who = desk(role)
        assert [who.get(MERCHANTS).status_code for _ in range(BURST)] == [200] * BURST
        return who

    return make


def told(answer):
    """An answer without what is every request's own."""
    body = {name: value for name, value in answer.get_json().items() if name != "request_id"}
    return answer.status_code, {name: value for name, value in answer.headers.items() if name not in OWN}, body


def break_writes(sql, table: str, *, sqlstate: str) -> None:
    """Every write to the table fails from here on."""
    sql.execute(f"""
        create function refuse_write() returns trigger language plpgsql as
          $$ begin raise exception 'no' using errcode = '{sqlstate}'; end $$;
        create trigger a_refuse before insert or update on {table} execute function refuse_write();
    """)


def test_every_get_that_a_rate_limit_refuses_is_noted_once(spent, sql):
    ann = spent()
    for route in sorted(path for path, methods in document()["paths"].items() if "/ops/" in path and "get" in methods):
        assert ann.get(re.sub(r"\{[^}]+\}", "nothing", route)).status_code == 429
        noted = log(sql, operator=ann.name, route=route, result="rate_limited")
        assert [(row["merchant_id"], row["row_count"]) for row in noted] == [(PLATFORM, 0)], route


def test_it_is_noted_who_was_refused_what_and_from_where(spent, sql):
    eve = spent("viewer")
    assert eve.get(f"/ops/v1/payments/{VISA}", note="x").status_code == 429
    assert eve.get("/ops/v1/payments", query="order-7", own="x").status_code == 429
    who = {"operator": eve.name, "role": "viewer", "address": "127.0.0.1", "result": "rate_limited"}
    assert log(sql, result="rate_limited") == [
        who | {"route": route, "entity": entity, "merchant_id": PLATFORM, "row_count": 0}
        for route, entity in [
            ("/ops/v1/payments/{payment_id}", "(card number)"),
            ("/ops/v1/payments", "query=order-7"),
        ]
    ]


def test_the_refusal_is_the_same_noted_or_not(spent, sql, lines):
    ann = spent()
    noted = told(ann.get(MERCHANTS))
    assert noted[0] == 429 and noted[1]["Retry-After"] == "1" and "RateLimit" in noted[1]
    break_writes(sql, "access_log", sqlstate="53100")
    assert told(ann.get(MERCHANTS)) == noted
    assert len(log(sql, result="rate_limited")) == 1
    [line] = [line for line in lines if line["event"] == "a look that was not answered could not be noted"]
    assert (line["why"], line["result"], line["route"]) == ("database_down", "rate_limited", MERCHANTS)


def test_a_defect_of_the_note_leaves_the_refusal_as_it_is(spent, sql, lines, monkeypatch):
    ann = spent()
    refused = told(ann.get(MERCHANTS))
    monkeypatch.delattr("app.services.access.note")
    assert told(ann.get(MERCHANTS)) == refused
    [line] = [line for line in lines if line["event"] == "a look that was not answered could not be noted"]
    assert (line["why"], line["result"]) == ("internal_error", "rate_limited")


def test_of_a_session_that_ended_meanwhile_the_refusal_is_the_same_and_nobody_is_noted(spent, sql, lines):
    ann = spent()
    refused = told(ann.get(MERCHANTS))
    sql.execute("""
        create function sign_out() returns trigger language plpgsql security definer set search_path = postbox as
          $$ begin update operator_sessions set ended_at = clock_timestamp(); return null; end $$;
        create trigger rate_limits_900_sign_out after update on rate_limits execute function sign_out();
    """)
    assert told(ann.get(MERCHANTS)) == refused
    assert ann.get(MERCHANTS).status_code == 401
    assert len(log(sql, result="rate_limited")) == 1
    assert not [line for line in lines if "could not be noted" in line["event"]]


def test_a_stranger_leaves_no_row(app, sql):
    stranger = Desk(app, "nobody", "no-such-token")
    assert [stranger.get(MERCHANTS).status_code for _ in range(BURST + 1)] == [401] * (BURST + 1)
    assert log(sql) == []


def test_a_look_that_fails_is_noted(desk, sql):
    ann, route = desk("viewer"), "/ops/v1/providers"
    sql.execute("revoke select on circuits from postbox_operator")
    assert ann.get(route).get_json()["code"] == "internal_error"
    break_writes(sql, "rate_limits", sqlstate="55P03")
    assert ann.get(route).get_json()["code"] == "busy"
    assert [(row["result"], row["row_count"]) for row in log(sql, route=route)] == [("internal_error", 0), ("busy", 0)]
