"""A trace is taken over from the caller, told in the answer, and followed through audit and events into the workers."""

from __future__ import annotations

import json
import re

import pytest

from app.gateway.trace import follow
from app.model import public_id
from tests.gateway.conftest import CARD
from tests.gateway.test_webhooks import EVENT, PATH, signed

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{ID}-{SPAN}-01"


@pytest.mark.parametrize(
    "given, flags",
    [(GIVEN, "01"), (f"00-{ID}-{SPAN}-00", "00"), (f"00-{ID}-{SPAN}-ff", "01"), (f"cc-{ID}-{SPAN}-01-more", "01")],
)
def test_a_callers_trace_goes_on_with_a_span_of_our_own(given, flags):
    version, trace_id, span, told = follow(given).header.split("-")
    assert (version, trace_id, told) == ("00", ID, flags)
    assert span != SPAN and re.fullmatch("[0-9a-f]{16}", span)


@pytest.mark.parametrize(
    "given",
    [
        "", "00", GIVEN.upper(), f" {GIVEN}", f"{GIVEN},{GIVEN}", f"{GIVEN}-more", f"ff-{ID}-{SPAN}-01",
        f"cc-{ID}-{SPAN}-01x", f"00-{'0' * 32}-{SPAN}-01", f"00-{ID}-{'0' * 16}-01", f"00-{ID[1:]}-{SPAN}-01",
        f"00-{ID}-{SPAN}-1", f"00-{ID}-{SPAN}-0\u0661",
    ],
)  # fmt: skip
def test_what_is_malformed_is_ignored(given):
    trace = follow(given)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", trace.header)
    assert trace.id != ID and trace.id not in given


def test_a_payment_is_one_thread_and_each_request_the_cause_of_what_it_wrote(api, sql):
    other = "ff" * 16
    answer = api.post("/v1/payments", CARD, traceparent=GIVEN, x_request_id="one")
    assert answer.headers["traceparent"].startswith(f"00-{ID}-")
    payment = public_id.parse(public_id.PAYMENT, answer.get_json()["id"])
    api.post(
        f"/v1/payments/{answer.get_json()['id']}/cancel", {}, traceparent=f"00-{other}-{SPAN}-01", x_request_id="two"
    )
    for table, requests in (("audit_log", ["one", "two"]), ("events", [])):
        told = sql.execute(f"select * from {table} where payment_id is not null order by id").fetchall()
        assert {row["correlation_id"] for row in told} == {str(payment)}
        assert [row["causation_id"] for row in told] == [ID, other]
        assert [row["request_id"] for row in told if "request_id" in row] == requests


def test_what_is_about_no_payment_has_the_trace_for_its_thread(app, sql):
    raw = json.dumps(EVENT | {"data": {"object": {"id": "po_1", "object": "payout"}}}).encode()
    headers = signed(raw) | {"traceparent": GIVEN}
    assert app.test_client().post(PATH, data=raw, headers=headers).status_code == 200
    told = sql.execute("select correlation_id, causation_id from audit_log where entity_type = 'webhook'").fetchall()
    assert told == [{"correlation_id": ID, "causation_id": ID}]
