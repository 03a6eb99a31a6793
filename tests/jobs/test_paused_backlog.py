"""What is paused leaves the queue's way many at once, counts no failure, and comes back when the pause ends."""

from __future__ import annotations

from typing import Any

import pytest

from app.db import Tx
from app.services import deliveries, pauses
from jobs import local, sweep
from tests import factories
from tests.fixtures.worker import Hand
from tests.jobs.backlog import to_deliver

BACKLOG = 60


@pytest.fixture
def stopped(hand: Hand, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A payment with a backlog of local deliveries, its merchant or their handler paused."""
    payment = factories.payment(hand.connection, "submitted")
    to_deliver(hand.connection, BACKLOG, payment)
    name = {"handler": "watch_outcome", "merchant": str(payment["merchant_id"])}[request.param]
    with factories.acting(hand.connection, "operator", role="postbox_owner"):
        pauses.pause(Tx(hand.connection), request.param, name, by="ana", reason="test")
    return payment | {"kind": request.param, "name": name}


def local_jobs(hand: Hand) -> int:
    return hand.connection.execute("select from procrastinate_jobs where queue_name = 'local'").rowcount


def local_deliveries(hand: Hand) -> list[dict[str, Any]]:
    return hand.connection.execute("select * from deliveries where lane = 'local'").fetchall()


@pytest.mark.parametrize("stopped", ["merchant", "handler"], indirect=True)
def test_who_meets_one_that_is_paused_puts_off_all_and_to_resume_brings_them_back(
    hand: Hand, stopped: dict[str, Any]
) -> None:
    hand.retime(pause_recheck=600.0, pause_longest=600.0)
    assert hand.run_one("local")
    assert local_jobs(hand) == 0
    assert {(row["status"], row["deferred_for"], row["job_id"]) for row in local_deliveries(hand)} == {
        ("pending", "paused", None)
    }
    with factories.acting(hand.connection, "operator", role="postbox_owner"):
        pauses.resume(Tx(hand.connection), stopped["kind"], stopped["name"], reason="over")
    sweep.promote_once(hand.runtime)
    while hand.run_one("local"):
        pass
    assert {(row["status"], row["failures"]) for row in local_deliveries(hand)} == {("done", 0)}


@pytest.mark.parametrize("stopped", ["merchant"], indirect=True)
def test_so_many_are_put_off_in_one_statement_and_the_rest_by_the_next(
    hand: Hand, stopped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PUT_OFF_AT_ONCE", BACKLOG // 2)
    before = local_jobs(hand)
    assert hand.run_one("local")
    assert local_jobs(hand) == before - 1 - BACKLOG // 2


def test_to_look_for_siblings_in_vain_for_too_long_is_no_failure(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "STATEMENT_MS", 1_000)
    factories.payment(hand.connection, "submitted")
    hand.connection.execute(
        "create or replace function pick_siblings(p_after uuid, p_oldest bigint, p_most integer, p_handlers text[])"
        " returns table (merchant_id uuid, event_id uuid, handler text, payment_id uuid, job_id bigint, topic text,"
        " share integer) language plpgsql volatile as 'begin perform pg_sleep(60); end'"
    )
    assert hand.run_one("local")
    assert [(row["status"], row["failures"]) for row in local_deliveries(hand)] == [("done", 0)]
