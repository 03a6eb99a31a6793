"""A group of local deliveries is one call of the database: each under its own actor, all within one time, any size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.dev.postgres import Cluster
from jobs import group, local
from jobs.handlers import HANDLERS, LocalHandler
from jobs.turn import GROUP_MOST, GROUP_SECONDS, GROUP_SIZE, Turn
from tests import factories
from tests.fixtures.worker import Hand
from tests.jobs.processes import World, until, world

# What one delivery takes; a group is two or three of them.
SLOW_SECONDS = 0.02
# Two groups at once need seconds for it.
BACKLOG = 400


def slow_down(conn: factories.Connection, seconds: float) -> None:
    """From here on the handler of submitted payments does nothing but take its time."""
    conn.execute(
        "create or replace function watch_outcome(p_merchant_ids uuid[], p_payment_ids uuid[], p_card float8,"
        " p_bank float8) returns void language sql volatile"
        f" as 'select pg_sleep({seconds} * cardinality(p_payment_ids))'".encode()
    )


def test_every_handler_that_says_so_is_run_by_the_database_and_no_other(conn: factories.Connection) -> None:
    row = conn.execute("select prosrc from pg_proc where proname = 'run_local_batch'").fetchone()
    assert row is not None
    named = {name for name in HANDLERS if re.search(rf"when '{name}' then\s+perform {name}\(", row["prosrc"])}
    assert named == {
        name for name, handler in HANDLERS.items() if isinstance(handler, LocalHandler) and handler.in_database
    }


def test_each_delivery_of_a_group_is_audited_under_its_own_handler_and_event(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GROUP_SECONDS", 60.0)
    monkeypatch.setattr(group, "GROUP_PATIENCE", 60.0)
    for _ in range(6):
        factories.payment(hand.connection, "submitted")
        factories.payment(hand.connection, "confirmed")
    with factories.acting(hand.connection, "worker"):
        hand.connection.execute("update payments set observe_at = null where state = 'submitted'")
    hand.run_one("local")
    rows = hand.connection.execute(
        "select a.actor_id, a.causation_id, d.handler, d.event_id::text from audit_log a"
        " left join deliveries d on d.event_id::text = a.causation_id and d.handler = a.actor_id"
        " where a.action in ('ledger.posted', 'payment.observed') and a.actor_id <> 'worker-1'"
    ).fetchall()
    assert {row["actor_id"] for row in rows} == {"watch_outcome", "credit_merchant"}
    assert len(rows) == 12 and all(row["event_id"] for row in rows), "each names the delivery that did it"
    assert len({row["causation_id"] for row in rows}) == 12


def test_a_group_in_the_database_ends_when_its_time_is_over_and_the_rest_is_run_later(hand: Hand) -> None:
    slow_down(hand.connection, SLOW_SECONDS)
    merchant = factories.merchant(hand.connection)
    for _ in range(12):
        factories.payment(hand.connection, "submitted", merchant_id=merchant["id"])
    hand.run_one("local")
    done = hand.connection.execute("select count(*) as n from deliveries where status = 'done'").fetchone()
    assert 2 <= done["n"] <= GROUP_SECONDS / SLOW_SECONDS + 1
    hand.run_all()
    left = hand.connection.execute(
        "select from deliveries where status <> 'done' and handler = 'watch_outcome'"
    ).fetchall()
    assert left == []


def test_a_handler_whose_pace_is_known_is_called_once_for_a_group(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GROUP_SECONDS", 60.0)
    hand.connection.execute("create table public.calls (rows integer); grant insert on public.calls to postbox_worker")
    hand.connection.execute(
        "create or replace function watch_outcome(p_merchant_ids uuid[], p_payment_ids uuid[], p_card float8,"
        " p_bank float8) returns void language sql volatile"
        " as 'insert into public.calls values (cardinality(p_payment_ids))'"
    )
    for _ in range(2):
        hand.connection.execute("truncate public.calls")
        for _ in range(6):
            factories.payment(hand.connection, "submitted")
        hand.run_one("local")
    assert hand.connection.execute("select rows from public.calls").fetchall() == [{"rows": 6}]


def test_a_group_without_any_time_runs_its_own_and_the_next_though_their_handlers_differ(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "GROUP_PATIENCE", -1.0)
    merchant = factories.merchant(hand.connection)
    for state in ("confirmed", "submitted", "submitted"):
        factories.payment(hand.connection, state, merchant_id=merchant["id"])
    hand.run_one("local")
    done = hand.connection.execute(
        "select handler from deliveries where lane = 'local' and status = 'done' order by event_id"
    ).fetchall()
    assert [row["handler"] for row in done] == ["watch_outcome", "credit_merchant"]


def test_the_size_of_a_group_follows_the_time_that_one_delivery_takes() -> None:
    turn = Turn()
    assert turn.size() == GROUP_SIZE
    for _ in range(20):
        turn.learn(turn.size(), turn.size() * 0.000_1)
    assert turn.size() == GROUP_MOST
    for _ in range(20):
        turn.learn(2, 2 * 0.010)
    assert turn.size() == 5, "50 ms of work"
    for _ in range(20):
        turn.learn(1, 10.0)
    assert turn.size() == 2, "its own, and one of whose turn it is"


def test_a_busy_machine_does_not_make_groups_small() -> None:
    turn = Turn()
    for seconds in (0.020, 0.030, 0.200):
        turn.keep_pace("h", 100, seconds)
    assert 0.000_2 < (turn.pace("h") or 0) < 0.000_4, "what took longer by the clock once was no slower a handler"
    for _ in range(20):
        turn.keep_pace("h", 100, 2.0)
    assert turn.pace("h") == pytest.approx(0.020), "what goes on taking longer is"


@pytest.fixture
def here(cluster: Cluster, template: str, tmp_path: Path):
    with world(cluster, template, tmp_path, time_scale=1.0) as made:
        yield made


@pytest.fixture
def busy(here: World) -> World:
    """A worker in the middle of one merchant's backlog of slow local deliveries."""
    slow_down(here.connection, 2 * SLOW_SECONDS)
    merchant = factories.merchant(here.connection)
    for _ in range(BACKLOG):
        factories.payment(here.connection, "submitted", merchant_id=merchant["id"])
    here.connection.execute(
        "update deliveries set status = 'done', done_at = now(), job_id = null where lane = 'remote'"
    )
    here.connection.execute("delete from procrastinate_jobs where queue_name = 'remote'")
    here.worker()
    until(lambda: behind(here) < BACKLOG, here.tail)
    return here


def behind(here: World) -> int:
    row = here.one("select count(*) as n from deliveries where lane = 'local' and status = 'pending'")
    return int(row["n"])


def test_a_backlog_of_one_merchant_delays_no_remote_call_and_another_merchant_by_less_than_two_seconds(
    busy: World,
) -> None:
    called = factories.payment(busy.connection)
    other = factories.payment(busy.connection, "submitted")
    waited = (
        "select extract(epoch from d.done_at - d.created_at)::float8 as s from deliveries d"
        " where d.payment_id = %s and d.handler = 'watch_outcome' and d.status = 'done'"
    )
    [row] = until(lambda: busy.all(waited, other["id"]), busy.tail)
    assert row["s"] < 2
    call = "select from provider_calls where outcome = 'ok' and payment_id = %s"
    until(lambda: busy.all(call, called["id"]), busy.tail)
    assert behind(busy) > BACKLOG / 4, "neither waited for the local lane to drain"
