"""As many calls in flight in one process as are answered promptly, and three commits for each submit."""

from __future__ import annotations

import asyncio

import pytest

from app.model.outcome import Ambiguous, Ok
from jobs import flight as flights
from jobs.flight import FEWEST, Flight
from tests import factories
from tests.fixtures.worker import Hand

ANSWER, SILENCE = Ok(None), Ambiguous("timeout")


def fill(flight: Flight) -> None:
    """Take every free slot; with slots the loop has nothing to wait for."""

    async def take() -> None:
        while flight.taken < flight.limit:
            assert await flight.take()

    asyncio.run(take())


def test_the_limit_doubles_while_every_place_is_used_and_answered_up_to_the_setting() -> None:
    flight = Flight(100, patience=20.0)
    seen = []
    for _ in range(4):
        fill(flight)
        seen.append(flight.taken)
        for _ in range(flight.taken):
            flight.answered(ANSWER, 0.5)
            fill(flight)
    assert seen == [FEWEST, 2 * FEWEST, 4 * FEWEST, 100]
    assert Flight(4, patience=20.0).limit == 4


def test_answers_that_stay_out_halve_it_once_and_after_that_it_grows_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    flight = Flight(100, patience=20.0)
    for _ in range(100):
        fill(flight)
        flight.answered(ANSWER, 0.5)
    for _ in range(10):
        flight.answered(SILENCE, 20.0)
    assert flight.limit == 50, "ten silences of one moment are one event"
    flight.answered(ANSWER, 0.5)
    assert flight.limit == 50
    monkeypatch.setattr(flights, "CALM_SECONDS", 0.0)
    for _ in range(10):
        flight.answered(SILENCE, 20.0)
    assert flight.limit == FEWEST


def test_answers_that_are_slow_make_no_more_of_them_and_late_ones_fewer() -> None:
    flight = Flight(100, patience=20.0)
    for _ in range(20):
        fill(flight)
        flight.answered(ANSWER, 0.5)
    grown = flight.limit
    for _ in range(20):
        fill(flight)
        flight.answered(ANSWER, 5.0)
    assert flight.limit == grown > FEWEST
    flight.answered(ANSWER, 11.0)
    assert flight.limit < grown


def test_places_that_nobody_needs_make_no_more_of_them() -> None:
    flight = Flight(100, patience=20.0)
    for _ in range(100):
        flight.answered(ANSWER, 0.5)
    assert flight.limit == FEWEST


def test_who_waits_for_a_place_gets_one_that_is_left_and_goes_when_the_process_ends() -> None:
    async def scenario() -> list[bool]:
        flight = Flight(1, patience=20.0)
        assert await flight.take()
        waiting = [asyncio.ensure_future(flight.take()) for _ in range(2)]
        await asyncio.sleep(0)
        flight.leave()
        first, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        flight.close()
        return [one.result() for one in first] + [await one for one in waiting if one not in first]

    assert asyncio.run(scenario()) == [True, False]


def test_a_submit_is_three_commits(hand: Hand) -> None:
    payment = factories.payment(hand.connection)
    hand.run_one("remote")
    assert hand.payment(payment["id"])["state"] == "confirmed"
    rows = hand.connection.execute(
        "select recorded_xid::text as xid, array_agg(action order by id) as actions from audit_log"
        " where payment_id = %s and actor_id = 'submit_payment' group by 1 order by min(recorded_at)",
        [payment["id"]],
    ).fetchall()
    assert len(rows) == 3, rows
    done = hand.connection.execute(
        "select xmin::text as xid from deliveries where payment_id = %s and handler = 'submit_payment'", [payment["id"]]
    ).fetchone()
    assert done == {"xid": rows[-1]["xid"]}, "the delivery is marked in the last of them"
