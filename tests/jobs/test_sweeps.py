"""The clock's passes: the walk reaches the end whoever runs it, and locks are taken in the one order."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from app.db import QUERIES, Tx
from app.services import pauses
from jobs import reconcile, sweep
from tests import factories
from tests.fixtures.database import Clone, Connection
from tests.fixtures.worker import Hand


def payments(hand: Hand, count: int, state: str = "initiated") -> list[dict[str, Any]]:
    """Payments of one merchant, in the order in which they are locked."""
    merchant = factories.merchant(hand.connection)["id"]
    made = [factories.payment(hand.connection, state, merchant_id=merchant) for _ in range(count)]
    assert made == sorted(made, key=lambda payment: payment["id"])
    return made


# -- the walk -------------------------------------------------------------------------------------------------------


def test_the_walk_over_deliveries_reaches_the_end_whoever_runs_it(
    hand: Hand, database: Clone, monkeypatch: Any
) -> None:
    """Nothing hangs on a process that walks: not the next page, nor that somebody else held the lock meanwhile."""
    monkeypatch.setattr(sweep, "PAGE_OF_DELIVERIES", 2)
    monkeypatch.setattr(sweep, "WALKING_SECONDS", 0.0)
    payments(hand, 5)
    hand.connection.execute("delete from procrastinate_jobs where id = (select max(job_id) from deliveries)")
    assert sweep.sweep_once(hand.runtime)["lost"] == 0
    with database.connect().transaction(), another_sweeper(database, "lost_jobs_remote"):
        assert sweep.sweep_once(hand.runtime)["lost"] == 0
    assert [sweep.sweep_once(hand.runtime)["lost"] for _ in range(3)] == [0, 1, 0]


def test_the_walk_begins_anew_after_its_end(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "PAGE_OF_DELIVERIES", 2)
    monkeypatch.setattr(sweep, "WALKING_SECONDS", 0.0)
    payments(hand, 3)
    for _ in range(2):
        hand.connection.execute(
            "delete from procrastinate_jobs where id = (select job_id from deliveries order by event_id limit 1)"
        )
        assert [sweep.find_lost_jobs_once(hand.runtime) for _ in range(2)] == [1, 0]
        assert sweep.promote_once(hand.runtime) == 1


def submitted(hand: Hand, count: int) -> list[dict[str, Any]]:
    """Payments that the clock says to observe, the first made first."""
    made = payments(hand, count, "submitted")
    with factories.acting(hand.connection, "worker"):
        for payment in made:
            factories.update_payment(hand.connection, payment, observe_at="now", provider_ref=f"pi_{payment['id'].hex}")
    return made


def test_what_is_looked_at_already_stands_in_nobodys_way(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "OBSERVATIONS_PER_PAGE", 2)
    monkeypatch.setattr(sweep, "OBSERVING_SECONDS", 60.0)
    submitted(hand, 5)
    assert [sweep.observe_due_once(hand.runtime) for _ in range(2)] == [5, 0]
    submitted(hand, 1)
    assert [sweep.observe_due_once(hand.runtime) for _ in range(2)] == [1, 0]


def test_a_walk_that_runs_out_of_time_goes_on_from_there(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "OBSERVATIONS_PER_PAGE", 2)
    monkeypatch.setattr(sweep, "OBSERVING_SECONDS", 0)
    submitted(hand, 5)
    assert [sweep.observe_due_once(hand.runtime) for _ in range(4)] == [2, 2, 1, 0]


def test_every_payment_not_at_rest_that_nobody_waits_for_is_due_in_one_pass(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(reconcile, "ARMED_PER_PAGE", 2)
    states = ("authorized", "initiated", "submitted")
    silent = [payment["id"] for state in states for payment in payments(hand, 3, state)]
    payments(hand, 3)
    hand.connection.execute("delete from reconcile_due where payment_id = any(%s)", [silent])
    hand.connection.execute("alter table payments disable trigger user")
    hand.connection.execute("update payments set updated_at = updated_at - interval '1 hour'")
    assert [reconcile.arm_silent_once(hand.runtime) for _ in range(2)] == [len(silent), 0]


def test_a_walk_that_stands_at_a_state_of_another_release_begins_anew(hand: Hand) -> None:
    [silent] = payments(hand, 1)
    hand.connection.execute("delete from reconcile_due where payment_id = %(id)s", silent)
    hand.connection.execute("alter table payments disable trigger user")
    hand.connection.execute("update payments set updated_at = updated_at - interval '1 hour'")
    hand.connection.execute(
        "insert into sweeps (name, walked_to) values ('reconcile_arm', %s)",
        [["unheard_of", "infinity", str(silent["id"])]],
    )
    assert [reconcile.arm_silent_once(hand.runtime) for _ in range(2)] == [1, 0]


def test_the_walk_over_silent_payments_asks_for_every_open_state() -> None:
    listed = re.search(r"p\.state in \(([^)]*)\)", QUERIES["reconcile_due.arm_silent"])
    assert listed is not None
    assert sorted(re.findall(r"'(\w+)'", listed[1])) == reconcile.SILENT_STATES


def test_a_pass_of_the_walk_goes_on_to_the_end_while_it_has_time(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "PAGE_OF_DELIVERIES", 1)
    monkeypatch.setattr(sweep, "WALKING_SECONDS", 60.0)
    payments(hand, 4)
    hand.connection.execute("delete from procrastinate_jobs")
    assert sweep.find_lost_jobs_once(hand.runtime) == 4


@contextmanager
def another_sweeper(database: Clone, name: str) -> Iterator[None]:
    """Somebody else is at this sweep."""
    with database.connect() as other, other.transaction():
        other.execute("select pg_advisory_xact_lock(hashtextextended('postbox sweep ' || %s, 0))", [name])
        yield


# -- what is due ----------------------------------------------------------------------------------------------------


def wait_till_now(hand: Hand) -> None:
    """Every delivery there is waited, and is due now; the oldest first."""
    hand.connection.execute("delete from procrastinate_jobs")
    hand.connection.execute("update deliveries set job_id = null, due_at = created_at")


def promoted(hand: Hand) -> Counter[Any]:
    """How many deliveries of each merchant have the job they name."""
    rows = hand.connection.execute(
        "select d.merchant_id from deliveries d join procrastinate_jobs j on j.id = d.job_id"
        " and j.args = jsonb_build_object('merchant_id', d.merchant_id, 'event_id', d.event_id, 'handler', d.handler)"
        " and j.queue_name = d.lane"
    )
    return Counter(row["merchant_id"] for row in rows)


def test_what_is_due_of_one_merchant_waits_behind_no_backlog_of_another(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "PROMOTED_PER_PAGE", 6)
    monkeypatch.setattr(sweep, "PROMOTING_SECONDS", 0.0)
    [loud, *_] = payments(hand, 9)
    [quiet] = payments(hand, 1)
    [other] = payments(hand, 1)
    wait_till_now(hand)
    assert sweep.promote_once(hand.runtime) == 4
    assert promoted(hand) == {loud["merchant_id"]: 2, quiet["merchant_id"]: 1, other["merchant_id"]: 1}
    assert [sweep.promote_once(hand.runtime) for _ in range(3)] == [6, 1, 0]


def test_what_a_page_cuts_off_gives_nobody_the_job_of_another(hand: Hand, monkeypatch: Any) -> None:
    """The shares of three merchants are one more than a page, and of each one handler is paused."""
    monkeypatch.setattr(sweep, "PROMOTED_PER_PAGE", 35)
    monkeypatch.setattr(sweep, "PROMOTING_SECONDS", 0.0)
    for _ in range(3):
        payments(hand, 12)
    wait_till_now(hand)
    hand.connection.execute(
        "update deliveries d set handler = 'run_operation' from (select event_id, row_number() over (partition by"
        " merchant_id order by due_at) as nth from deliveries) n where n.event_id = d.event_id and nth in (1, 4, 5, 9)"
    )
    with factories.acting(hand.connection, "operator", role="postbox_owner"):
        pauses.pause(Tx(hand.connection), "handler", "run_operation", by="ana", reason="test")
    sweep.promote_once(hand.runtime)
    jobs = hand.connection.execute("select from procrastinate_jobs").rowcount
    named = hand.connection.execute("select from deliveries where job_id is not null").rowcount
    assert promoted(hand).total() == jobs == named


def test_more_merchants_than_a_page_holds_take_turns(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "PROMOTED_PER_PAGE", 2)
    monkeypatch.setattr(sweep, "PROMOTING_SECONDS", 0.0)
    merchants = [payments(hand, 2)[0]["merchant_id"] for _ in range(4)]
    wait_till_now(hand)
    for _ in range(2):
        sweep.promote_once(hand.runtime)
    assert promoted(hand) == dict.fromkeys(merchants, 1)


def test_a_backlog_is_promoted_page_after_page_while_there_is_time(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "PROMOTED_PER_PAGE", 2)
    monkeypatch.setattr(sweep, "PROMOTING_SECONDS", 60.0)
    [payment, *_] = payments(hand, 7)
    wait_till_now(hand)
    assert sweep.promote_once(hand.runtime) == 7
    assert promoted(hand) == {payment["merchant_id"]: 7}


@pytest.mark.parametrize("paused_for, put_off", [(0.0, 5.0), (60.0, 30.0), (3_600.0, 300.0)])
def test_what_is_paused_is_looked_at_ever_more_rarely(hand: Hand, paused_for: float, put_off: float) -> None:
    hand.retime(pause_recheck=5.0, pause_longest=300.0)
    payments(hand, 1)
    wait_till_now(hand)
    with factories.acting(hand.connection, "operator", role="postbox_owner"):
        hand.connection.execute(
            "insert into pauses (kind, name, reason, paused_by, paused_at)"
            " values ('handler', 'submit_payment', 'test', 'ana', clock_timestamp() - make_interval(secs => %s))",
            [paused_for],
        )
    assert [sweep.promote_once(hand.runtime) for _ in range(2)] == [1, 0]
    row = hand.connection.execute(
        "select extract(epoch from due_at - clock_timestamp())::float8 as due_in, job_id, deferred_for from deliveries"
    ).fetchone()
    assert row is not None
    assert (row["job_id"], row["deferred_for"]) == (None, "paused")
    assert row["due_in"] == pytest.approx(put_off, abs=2.0)


@pytest.mark.parametrize("putting_off", ["promote", "put_off"])
def test_to_resume_waits_for_who_is_putting_off_what_was_paused(database: Clone, putting_off: str) -> None:
    """What is put off by somebody who has not seen that the pause is lifted would wait for minutes."""
    conn = database.connect(admin=True)
    with factories.acting(conn, "operator"):
        pauses.pause(Tx(conn), "handler", "submit_payment", by="ana", reason="test")
    conn.execute("set lock_timeout = '100ms'")
    waits = pytest.raises(psycopg.errors.LockNotAvailable)
    with another_sweeper(database, putting_off), waits, factories.acting(conn, "operator"):
        pauses.resume(Tx(conn), "handler", "submit_payment", reason="test")


# -- the order of locks: payments by (merchant_id, id), then their children, circuits last ---------------------------


@contextmanager
def waiting_for(database: Clone, payment: dict[str, Any], work: Callable[[], Any]) -> Iterator[Connection]:
    """Inside, `work` waits for this payment's lock, which the yielded connection holds; it ends after the block."""
    holder, watcher = database.connect(), database.connect(admin=True)
    thread = threading.Thread(target=work)
    with holder.transaction():
        factories.act(holder, "worker")
        holder.execute("select from payments where id = %(id)s for no key update", payment)
        thread.start()
        blocked = "select from pg_stat_activity where %s = any(pg_blocking_pids(pid))"
        while not watcher.execute(blocked, [holder.info.backend_pid]).rowcount:
            assert thread.is_alive(), "it ended without asking for the payment's lock"
        yield holder
    thread.join()


LEASE = "update operations set lease_expires_at = clock_timestamp() - %(ago)s where payment_id = %(id)s"
ACTION = "update payments set action_expires_at = clock_timestamp() - %(ago)s where id = %(id)s"


@pytest.mark.parametrize(
    "state, expire, sweep_once",
    [("submitting", LEASE, sweep.expire_leases_once), ("requires_action", ACTION, sweep.expire_actions_once)],
)
def test_a_sweep_locks_payments_in_their_order_and_not_in_the_order_it_found_them(
    hand: Hand, database: Clone, state: str, expire: str, sweep_once: Callable[[Any], int]
) -> None:
    first, second = payments(hand, 2, state)
    with factories.acting(hand.connection, "worker"):
        for payment, hours in ((first, 1), (second, 2)):
            hand.connection.execute(expire, payment | {"ago": timedelta(hours=hours)})
    with waiting_for(database, first, lambda: sweep_once(hand.runtime)) as holder:
        holder.execute("select from payments where id = %(id)s for no key update nowait", second)
        holder.execute("select from operations where payment_id = %(id)s for update nowait", second)
    assert sweep_once(hand.runtime) == 0


def test_an_observation_takes_the_circuit_after_the_payment(hand: Hand, database: Clone) -> None:
    payment = hand.reach(factories.payment(hand.connection, capture_method="manual")["id"], "authorized")
    hand.connection.execute(
        "insert into circuits (merchant_id, provider, account, failures) values (%s, 'stripe', 'default', 1)",
        ["00000000-0000-0000-0000-000000000000"],
    )
    with factories.acting(hand.connection, "worker"):
        factories.update_payment(hand.connection, payment, observe_at="now")
    assert sweep.observe_due_once(hand.runtime) == 1
    with waiting_for(database, payment, lambda: hand.run_one("remote")) as holder:
        holder.execute("select from circuits for update nowait")


# -- retention ------------------------------------------------------------------------------------------------------


def test_keys_past_their_week_go_a_batch_at_a_time_and_no_other(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "KEYS_PER_PASS", 2)
    hand.connection.execute(
        "insert into idempotency_keys (merchant_id, key, fingerprint, status, body, created_at)"
        " select %s, 'of ' || n, sha256('order'), 201, 'kept', clock_timestamp() - make_interval(days => n)"
        " from generate_series(5, 9) n",
        [factories.merchant(hand.connection)["id"]],
    )
    assert [sweep.prune_keys_once(hand.runtime) for _ in range(3)] == [2, 1, 0]
    left = hand.connection.execute("select key from idempotency_keys order by key").fetchall()
    assert [row["key"] for row in left] == ["of 5", "of 6"]
