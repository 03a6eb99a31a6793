"""Who lost a job or a lease changes nothing any more, and nothing that a stranger sends ends a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from procrastinate import manager
from procrastinate.jobs import Status

from cli.dev.postgres import Cluster
from jobs.app import make_app
from jobs.flight import Flight
from jobs.oldest import OldestJob
from jobs.queue import FencedJobManager, autocommit_pool, opened
from jobs.sweep import expire_leases_once
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.worker import Hand
from tests.jobs.processes import World, until, world

SPINE = ["payment.initiated", "payment.provider_submitted", "payment.confirmed", "payment.settled"]
CHANNEL = "procrastinate_any_queue_v1"


@pytest.mark.parametrize(
    ("job_manager", "left"),
    [
        (lambda connector: FencedJobManager(connector, Flight(1, patience=1.0), OldestJob()), [{"status": "doing"}]),
        (manager.JobManager, []),
    ],
    ids=["ours", "stock"],
)
def test_a_zombie_cannot_finish_a_job_that_another_worker_holds(
    database: Clone, job_manager: Callable[[Any], manager.JobManager], left: list[dict[str, str]]
) -> None:
    """The stock manager is the naive version: its finish takes the job out of the hands of who runs it."""
    connection = database.connect(admin=True)
    factories.payment(connection)

    async def zombie() -> None:
        application = make_app()
        async with opened(autocommit_pool(database.url, size=2)) as pool, application.open_async(pool):
            jobs = job_manager(application.connector)
            dead, alive = await jobs.register_worker(), await jobs.register_worker()
            job = await jobs.fetch_job(queues=["remote"], worker_id=dead)
            assert job is not None
            connection.execute("update procrastinate_jobs set worker_id = %s where id = %s", [alive, job.id])
            await jobs.finish_job(job, Status.SUCCEEDED, delete_job=True)

    asyncio.run(zombie())
    assert connection.execute("select status from procrastinate_jobs").fetchall() == left


def expire_lease(hand: Hand) -> None:
    """As if the one who holds the lease had been silent past its end."""
    with factories.acting(hand.connection, "worker"):
        hand.connection.execute(
            "update operations set lease_expires_at = clock_timestamp() - interval '1 second'"
            " where status = 'in_flight'"
        )
    assert expire_leases_once(hand.runtime) == 1


@pytest.mark.parametrize("step", ["create", "confirm"])
def test_a_late_result_is_kept_as_evidence_and_changes_nothing(hand: Hand, sandbox: Sandbox, step: str) -> None:
    payment = factories.payment(hand.connection)
    hand.after_send(step, lambda: expire_lease(hand))
    assert hand.settle(payment["id"])["state"] == "settled"
    [late] = hand.calls(late=True)
    assert (late["step"], late["outcome"], late["http_status"]) == (step, "ok", 200)
    assert "payment.outcome_unknown" in hand.topics(payment["id"]), "it was unknown until somebody asked"
    assert [topic for topic in hand.topics(payment["id"]) if topic in SPINE] == SPINE
    assert sandbox.ledger(payment_id=str(payment["id"]))["summary"]["captured_charges"] == 1


def test_who_was_overtaken_by_a_rescue_finds_the_work_done(hand: Hand, sandbox: Sandbox, database: Clone) -> None:
    """A worker that was only slow: its job was taken away, another asked and finished, then it wakes up."""
    payment = factories.payment(hand.connection)
    other = Hand(hand.runtime, database)

    def overtake() -> None:
        expire_lease(other)
        assert other.sweep()["rescued"] == 1
        other.until(lambda: other.payment(payment["id"])["state"] == "settled")

    hand.after_send("confirm", overtake)
    hand.settle(payment["id"])
    assert [call["late"] for call in hand.calls(step="confirm")] == [True]
    before = hand.payment(payment["id"])
    hand.run_all()
    hand.sweep()
    assert hand.payment(payment["id"])["version"] == before["version"]
    assert sandbox.ledger(payment_id=str(payment["id"]))["summary"]["captured_charges"] == 1
    assert not hand.dead()


def test_a_job_that_runs_twice_has_its_effect_once(hand: Hand, sandbox: Sandbox) -> None:
    payment = factories.payment(hand.connection)
    hand.connection.execute(
        "insert into procrastinate_jobs (queue_name, task_name, args) select queue_name, task_name, args"
        " from procrastinate_jobs, generate_series(1, 3)"
    )
    hand.settle(payment["id"])
    assert ("submit_payment", "superseded") in hand.results
    assert len(hand.calls(step="create")) == len(hand.calls(step="confirm")) == 1


@pytest.fixture
def working(cluster: Cluster, template: str, tmp_path: Path):
    """A worker process that has settled a payment."""
    with world(cluster, template, tmp_path) as here:
        here.worker()
        settles(here)
        yield here


def settles(here: World) -> None:
    payment = factories.payment(here.connection)
    until(lambda: here.state(payment) == "settled", lambda: f"{here.pending()}\n{here.tail()}")


def lives(here: World) -> list[dict[str, Any]]:
    return here.all("select id from procrastinate_workers order by id")


def test_no_payload_on_its_channel_ends_a_worker(working: World) -> None:
    before = lives(working)
    for payload in ("", "{", "[]", "null", '{"type": "abort_job_requested"}', "x" * 7_000):
        working.connection.execute("select pg_notify(%s, %s)", [CHANNEL, payload])
    settles(working)
    assert lives(working) == before, working.tail()


def test_the_insert_of_a_job_notifies_nobody(database: Clone) -> None:
    """NOTIFY inside a transaction serialises the commits of the whole cluster; the wake-up comes after the commit."""
    listener = database.connect(admin=True)
    listener.execute(f"listen {CHANNEL}")
    factories.payment(database.connect(admin=True))
    assert list(listener.notifies(timeout=0.2, stop_after=1)) == []


def test_a_worker_whose_every_connection_is_cut_serves_again_by_itself(working: World) -> None:
    payments = []
    for _ in range(3):
        payments.append(factories.payment(working.connection))
        working.connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name like 'postbox%'"
        )
    until(
        lambda: all(working.state(payment) == "settled" for payment in payments) and not working.pending(),
        lambda: f"{working.pending()}\n{working.tail()}",
        seconds=60,
    )
    settles(working)
    until(lambda: not working.pending(), working.pending)
    assert working.violations() == []


def test_two_workers_share_one_queue(cluster: Cluster, template: str, tmp_path: Path) -> None:
    with world(cluster, template, tmp_path) as here:
        merchant = factories.merchant(here.connection)["id"]
        for _ in range(60):
            factories.payment(here.connection, merchant_id=merchant)
        here.worker()
        here.worker()
        until(lambda: here.states() == {"settled": 60} and not here.pending(), lambda: here.tail(), seconds=60)
        assert here.sandbox.ledger()["summary"]["captured_charges"] == 60
        assert here.violations() == []


def test_without_a_database_a_worker_waits_and_does_not_exit(
    cluster: Cluster, template: str, tmp_path: Path, database: Clone
) -> None:
    with world(cluster, template, tmp_path) as here:
        with psycopg.connect(cluster.url(), autocommit=True) as admin:
            admin.execute(f'alter database "{here.database.name}" allow_connections false')
            worker = here.worker()
            until(lambda: "starts again" in here.tail(), here.tail, seconds=60)
            assert worker.poll() is None
            admin.execute(f'alter database "{here.database.name}" allow_connections true')
        settles(here)
