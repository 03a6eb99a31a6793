"""PostgreSQL is stopped as by a crash and started again, under load: what was acknowledged is kept, all serve again."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from app.db.migrate import migrate
from cli.dev.postgres import Cluster, ensure_cluster
from tests import factories
from tests.e2e.gateway_process import GatewayProcess, start_gateway
from tests.fixtures.cluster import LOGIN, _make_login
from tests.fixtures.database import Clone
from tests.fixtures.sandbox import running_sandbox
from tests.jobs.processes import DRAIN_SECONDS, World, until

# A twentieth of production: one machine runs everything, and a lease must outlast a busy moment.
TIME_SCALE = 0.05
CLIENTS = 3
OUTAGES = 2
PAYMENTS_BETWEEN = 25
# Some hundred payments settle by the clock; how many were made in the outages, and how busy the machine is, is chance.
SETTLING = 240
BODY = {"amount": 1_000, "currency": "usd", "method": {"type": "card", "token": "pm_card_visa"}}
BODY |= {"return_url": "https://shop.example/back"}


@pytest.fixture
def durable() -> Iterator[Cluster]:
    """A PostgreSQL of this test's own that keeps what it acknowledged."""
    root = Path(tempfile.mkdtemp(prefix="postbox-outage-"))
    root.chmod(0o755)
    cluster = ensure_cluster(root)
    try:
        yield cluster
    finally:
        cluster.remove()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def here(durable: Cluster, tmp_path: Path) -> Iterator[World]:
    _make_login(durable)
    with psycopg.connect(durable.url(), autocommit=True) as connection:
        assert connection.execute("show fsync").fetchone() == ("on",)
        connection.execute(sql.SQL("create database postbox"))
    migrate(durable.url("postbox"), runtime_login=LOGIN)
    database = Clone(durable, "postbox")
    with running_sandbox(tmp_path / "stripe.jsonl", "--time-scale", str(TIME_SCALE)) as sandbox:
        world = World(database, sandbox, tmp_path / "processes.log", TIME_SCALE)
        try:
            yield world
        finally:
            world.kill_all()
            database.close()


def test_no_acknowledged_payment_is_lost_and_all_serve_again_without_a_hand(here: World, durable: Cluster) -> None:
    gateway = start_gateway(here)
    worker = here.worker()
    stop = threading.Event()
    acknowledged: list[str] = []

    def client(name: int) -> None:
        for number in range(10_000):
            key = f"client-{name}-{number}"
            taken = gateway.post_until_taken("/v1/payments", BODY, key=key, stop=stop)
            if taken is None:
                return
            acknowledged.append(taken["id"])

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, name) for name in range(CLIENTS)]
        try:
            for _ in range(OUTAGES):
                more = len(acknowledged) + PAYMENTS_BETWEEN
                until(lambda more=more: len(acknowledged) >= more, here.tail, seconds=60)  # type: ignore[misc]
                out_of_reach(here, durable, gateway)
            more = len(acknowledged) + PAYMENTS_BETWEEN
            until(lambda: len(acknowledged) >= more, here.tail, seconds=60)
        finally:
            stop.set()
        for done in clients:
            done.result()

    assert (gateway.process.poll(), worker.poll()) == (None, None), "nobody had to start them again"
    here.connection = here.database.connect(admin=True)
    until(
        lambda: set(here.states()) == {"settled"} and not here.pending(),
        lambda: f"{here.states()} {here.pending()}\n{here.tail()}",
        seconds=SETTLING,
    )
    kept = {f"pay_{row['id'].hex}" for row in here.all("select id from payments")}
    assert set(acknowledged) <= kept
    assert len(acknowledged) == len(set(acknowledged)), "one key is one payment, however often it was sent"
    # a client that was told to stop may have been cut off from one answer
    assert len(kept) - len(acknowledged) <= CLIENTS
    summary = here.sandbox.ledger()["summary"]
    assert (summary["captured_charges"], summary["charged_twice"]) == (len(kept), [])
    assert here.violations() == []
    webhooks = last_answers(here)
    assert set(webhooks.values()) == {200}, "what could not be told during an outage was told after it"


def out_of_reach(here: World, durable: Cluster, gateway: GatewayProcess) -> None:
    """An outage that ends when it was noticed and a webhook has met it."""
    here.sandbox.control("POST", "webhooks/pause")
    until(lambda: here.sandbox.control("GET", "webhooks")["queued"], "an event to tell")
    durable.stop("immediate")
    until(lambda: not gateway.ready(), "the outage to be noticed")
    refused = len(refused_webhooks(here))
    here.sandbox.control("POST", "webhooks/resume")
    until(lambda: len(refused_webhooks(here)) > refused, "a webhook to meet the outage")
    durable.start()


def refused_webhooks(here: World) -> list[dict[str, Any]]:
    """Every attempt to deliver a webhook that was not taken."""
    attempts = here.sandbox.control("GET", "webhooks")["deliveries"]
    return [attempt for attempt in attempts if attempt["status"] != 200]


def last_answers(here: World) -> dict[str, int | None]:
    """How the last attempt to deliver each of the provider's events was answered."""
    here.sandbox.control("POST", "webhooks/flush")
    attempts = here.sandbox.control("GET", "webhooks")["deliveries"]
    return {attempt["event"]: attempt["status"] for attempt in attempts}


@pytest.mark.parametrize("at_work", [False, True])
def test_a_worker_ends_in_time_though_its_database_is_away(here: World, durable: Cluster, at_work: bool) -> None:
    here.time_scale = 1.0
    here.without_runs_of_the_clock()
    if at_work:
        here.sandbox.fault(kind="slow", path="/v1/payment_intents", seconds=10, count=None)
        for _ in range(40):
            factories.payment(here.connection)
    worker = here.worker()
    until(lambda: here.all("select from procrastinate_workers"), here.tail)
    if at_work:
        until(lambda: here.all("select from provider_calls where finished_at is null"), here.tail)
    durable.stop("immediate")
    worker.terminate()
    ended = worker.wait(DRAIN_SECONDS)
    assert ended == 0 or at_work, "only what waits for the database to record an answer is left to be rescued"
