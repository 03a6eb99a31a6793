"""A trace is taken over from the caller, told in the answer, and followed through audit and events into the workers."""

from __future__ import annotations

import re

import pytest

from app.gateway.trace import follow
from tests.gateway.conftest import CARD

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


def test_the_trace_of_a_request_is_the_correlation_of_all_it_wrote(api, sql):
    answer = api.post("/v1/payments", CARD, traceparent=GIVEN)
    assert answer.headers["traceparent"].startswith(f"00-{ID}-")
    for table in ("audit_log", "events"):
        told = sql.execute(f"select correlation_id from {table} where payment_id is not null").fetchall()
        assert told and {row["correlation_id"] for row in told} == {ID}
