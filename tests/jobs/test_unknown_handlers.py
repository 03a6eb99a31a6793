"""A handler of another release is waited for, ever more rarely, so that a long rollout is no load."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests import factories
from tests.fixtures.worker import Hand

HANDLER = "from_the_future"


def defer_again(hand: Hand, *, waited: float) -> tuple[timedelta, timedelta, timedelta]:
    """Defer it once more, as if the first deferral were so long ago: the bounds of the wait, and how long we took."""
    before = clock(hand)
    hand.connection.execute(
        "update deliveries set due_at = '-infinity', deferred_since = %s", [before - timedelta(seconds=waited)]
    )
    hand.sweep()
    assert hand.run_one()
    after, row = clock(hand), hand.connection.execute("select due_at, deferred_for from deliveries").fetchone()
    assert row is not None and row["deferred_for"] == "unknown_handler"
    return row["due_at"] - after, row["due_at"] - before, after - before


def clock(hand: Hand) -> Any:
    row = hand.connection.execute("select clock_timestamp() as now").fetchone()
    assert row is not None and isinstance(row["now"], datetime)
    return row["now"]


@pytest.mark.parametrize("lane", ["remote", "local"])
def test_the_wait_grows_with_the_time_waited_and_is_bounded(hand: Hand, lane: str) -> None:
    hand.connection.execute("delete from subscriptions")
    hand.connection.execute(
        "insert into subscriptions (topic, handler, lane) values ('payment.initiated', %s, %s)", [HANDLER, lane]
    )
    factories.payment(hand.connection)
    assert hand.run_one()
    longest = hand.runtime.timing.unknown_recheck
    # half of what it waited so far, up to the longest
    for waited in (0.5 * longest, longest, 100 * longest):
        at_least, at_most, took = defer_again(hand, waited=waited)
        wanted = timedelta(seconds=min(waited / 2, longest))
        assert at_least <= wanted + took / 2 and wanted <= at_most
