"""The clock's passes: the walk reaches the end whoever runs it, and locks are taken in the one order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

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
    payments(hand, 5)
    hand.connection.execute("delete from procrastinate_jobs where id = (select max(job_id) from deliveries)")
    assert sweep.sweep_once(hand.runtime)["lost"] == 0
    with database.connect().transaction(), another_sweeper(database, "lost_jobs_remote"):
        assert sweep.sweep_once(hand.runtime)["lost"] == 0
    assert [sweep.sweep_once(hand.runtime)["lost"] for _ in range(3)] == [0, 1, 0]


def test_the_walk_begins_anew_after_its_end(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "PAGE_OF_DELIVERIES", 2)
    payments(hand, 3)
    for _ in range(2):
        hand.connection.execute(
            "delete from procrastinate_jobs where id = (select job_id from deliveries order by event_id limit 1)"
        )
        assert [sweep.find_lost_jobs_once(hand.runtime) for _ in range(2)] == [1, 0]
        assert sweep.promote_once(hand.runtime) == 1


def submitted(hand: Hand, count: int) -> list[dict[str, Any]]:
    """Payments that the clock says to look at, the first made first."""
    made = payments(hand, count, "submitted")
    with factories.acting(hand.connection, "worker"):
        for payment in made:
            factories.update_payment(hand.connection, payment, observe_at="now", provider_ref=f"pi_{payment['id'].hex}")
    return made


def test_what_is_looked_at_already_stands_in_nobodys_way(hand: Hand, monkeypatch: Any) -> None:
    monkeypatch.setattr(sweep, "OBSERVATIONS_PER_PAGE", 2)
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


@contextmanager
def another_sweeper(database: Clone, name: str) -> Iterator[None]:
    """Somebody else is at this sweep."""
    with database.connect() as other, other.transaction():
        other.execute("select pg_advisory_xact_lock(hashtextextended('postbox sweep ' || %s, 0))", [name])
        yield


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
