"""Short real runs of the load programs: what must hold at any load; `bin/load` measures what takes a quiet minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.gateway.test_server import serving
from tests.load import scenarios
from tests.load.client import Plan, Source, parts

SECONDS, MEASURED_FOR = 5.0, 2.0


@pytest.fixture
def place(database, tmp_path) -> scenarios.Place:
    @contextmanager
    def serve(**env: str) -> Iterator[int]:
        threads = {"POSTBOX_WEB_THREADS": "8", "POSTBOX_API_POOL_SIZE": "8"}
        with serving(database, tmp_path, **(threads | env)) as server:
            yield server.port

    return scenarios.Place(database.connect(admin=True), serve)


def test_five_times_the_capacity_is_refused_in_order_and_loses_nothing(place):
    found, outcome = scenarios.overload(place, seconds=SECONDS, measured_for=MEASURED_FOR)
    assert outcome.misbehaved == []
    assert found["acknowledged and lost"] == 0
    assert set(outcome.statuses) <= {201, 429, 503}
    assert 503 in outcome.statuses and len(outcome.done) > found["peak writes/s"]


def test_a_loud_neighbour_is_held_to_its_limit_and_nobody_else_is(place):
    _, without, together = scenarios.neighbour(place, seconds=SECONDS, measured_for=MEASURED_FOR)
    quiet, loud = together.of(source="quiet"), together.of(source="loud")
    assert len(quiet.results) == len(without.results), "the same arrivals, twice"
    assert without.misbehaved == together.misbehaved == []
    # a machine that is busy with something else may shed; the limit is the loud one's alone
    assert 429 not in without.statuses and 429 not in quiet.statuses
    assert loud.statuses[429] > len(loud.done)


def test_arrivals_are_fixed_beforehand_and_shared_out():
    plan = Plan(1, 0.0, 20.0, 7, [Source("a", "k", reads=50.0, writes=10.0), Source("b", "k", writes=40.0)])
    assert plan.arrivals() == plan.arrivals()
    halves = [part.arrivals() for part in parts(plan, 2)]
    assert halves[0] != halves[1]
    for arrivals in (plan.arrivals(), [*halves[0], *halves[1]]):
        assert len(arrivals) == pytest.approx(2_000, rel=0.1)
        assert all(0 < at < 20 for at, *_ in arrivals)
    assert plan.arrivals() == sorted(plan.arrivals())
