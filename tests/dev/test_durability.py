"""No process starts on a PostgreSQL that would lose what it acknowledged, unless it was told so in full."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import psycopg
import pytest

from app.config import ROOT
from app.db import Database, inspection
from app.db.durability import refuse_unsafe
from app.errors import UnsafeDatabase
from app.gateway import create_app
from app.gateway.context import EXTENSION
from cli.dev.postgres import Cluster, ensure_cluster
from jobs import app as jobs_app
from jobs.runtime import open_runtime
from jobs.sweeper import Sweeper, moving_passes
from jobs.worker import _work
from tests import factories
from tests.fixtures.cluster import OFF, SETTINGS, UNSAFE
from tests.fixtures.database import KEY_PEPPER
from tests.gateway.conftest import CARD, made
from tests.gateway.test_webhooks import EVENT, PATH, signed
from tests.gateway.waiting import until

TOLD = "PostgreSQL runs with fsync = off and full_page_writes = off and synchronous_commit = off"
WEB = ("-m", "gunicorn", "app.gateway:create_app()", "--config", "app/gateway/gunicorn_conf.py")
POSTBOX = ("-c", "from cli.main import main; main()")


@pytest.mark.parametrize(
    "process", [WEB, (*POSTBOX, "worker"), (*POSTBOX, "migrate")], ids=["web", "worker", "migrate"]
)
def test_a_process_refuses_to_start_in_one_line(database, process):
    assert all(SETTINGS[name] == "off" for name in OFF), "the tests' own cluster is the unsafe one"
    env = {name: value for name, value in os.environ.items() if name not in UNSAFE} | {
        "DATABASE_URL": database.url, "POSTBOX_MIGRATION_URL": database.admin_url, "POSTBOX_KEY_PEPPER": KEY_PEPPER,
        "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:0",
    }  # fmt: skip
    ran = subprocess.run([sys.executable, *process], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    said = [line for line in ran.stderr.splitlines() if '"level":"info"' not in line]
    assert (ran.returncode, len(said)) == (1, 1), ran.stderr
    assert said[0].startswith(f"Error: {TOLD}: a crash would lose acknowledged payments")
    assert said[0].endswith(f"POSTBOX_UNSAFE_POSTGRES=payments-may-be-lost POSTBOX_UNSAFE_SETTINGS={','.join(OFF)}")


@pytest.fixture(scope="module")
def durable() -> Iterator[Cluster]:
    """A PostgreSQL that keeps what it acknowledges."""
    root = Path(tempfile.mkdtemp(prefix="postbox-durable-"))
    root.chmod(0o755)
    cluster = ensure_cluster(root)
    try:
        yield cluster
    finally:
        cluster.remove()
        shutil.rmtree(root, ignore_errors=True)


def test_a_durable_postgres_is_accepted_and_one_setting_off_is_enough(durable, settings):
    strict = replace(settings, unsafe_postgres=frozenset(), database_url=durable.url())
    refuse_unsafe(strict)
    with psycopg.connect(durable.url(), autocommit=True) as connection:
        try:
            connection.execute("alter role current_user set synchronous_commit = 'off'")
            with pytest.raises(UnsafeDatabase, match="runs with synchronous_commit = off: "):
                refuse_unsafe(strict)
            with pytest.raises(UnsafeDatabase):
                refuse_unsafe(replace(strict, unsafe_postgres=frozenset({"fsync", "full_page_writes"})))
            refuse_unsafe(replace(strict, unsafe_postgres=frozenset({"synchronous_commit"})))
            connection.execute("alter role current_user set synchronous_commit = 'local'")
            refuse_unsafe(strict)
        finally:
            connection.execute("alter role current_user reset all")


def test_a_database_that_is_away_has_shown_nothing_and_is_asked_again_by_readiness(database, settings):
    strict = replace(settings, unsafe_postgres=frozenset())
    refuse_unsafe(replace(strict, database_url="postgresql://nobody@127.0.0.1:1/none"))
    app = create_app(strict)
    answer = app.test_client().get("/readyz")
    app.extensions[EXTENSION].database.close()
    told = {"status": "unready", "reason": "database_unsafe", "settings": sorted(OFF)}
    assert (answer.status_code, answer.get_json()) == (503, told)


def test_nothing_is_acknowledged_on_a_database_that_came_up_unsafe(database, settings, lines):
    """It was away when the process started. Refusing costs no question: each connection is inspected once."""
    left = sorted({*OFF} - {"fsync"})
    sql, raw = database.connect(admin=True), json.dumps(EVENT).encode()
    headers = {"Authorization": f"Bearer {factories.api_key(sql, factories.merchant(sql)['id']).text()}"}
    strict = replace(settings, unsafe_postgres=frozenset({"fsync"}), api_pool_size=2)
    with contextmanager(made)(strict) as app:
        client = app.test_client()
        answers = [client.post("/v1/payments", json=CARD, headers=headers | {"Idempotency-Key": "k"}) for _ in range(9)]
        answers += [client.get("/v1/payments", headers=headers), client.post(PATH, data=raw, headers=signed(raw))]
        ready, alive = client.get("/readyz"), client.get("/healthz")
    told = {(answer.status_code, answer.get_json()["code"], answer.headers["Retry-After"]) for answer in answers}
    assert told == {(503, "database_down", "5")}
    assert (ready.get_json()["settings"], alive.status_code) == (left, 200)
    assert sql.execute("select scope from rate_limits union all select type from webhooks").fetchall() == []
    found = [line["settings"] for line in lines if line["event"].startswith("PostgreSQL would lose payments")]
    assert found in ([left], [left] * 2)


def test_a_pool_finds_out_what_its_server_forgets_and_goes_on_when_that_is_mended(durable, monkeypatch, lines):
    url = durable.url()
    gone = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'postbox'"

    def ask() -> str:
        try:
            with found.connection() as connection:
                connection.execute("select")
                return "answered"
        except (UnsafeDatabase, psycopg.OperationalError) as error:
            return type(error).__name__

    with Database(url, size=2, unsafe_accepted=frozenset()) as found, psycopg.connect(url, autocommit=True) as admin:
        monkeypatch.setattr(inspection, "INSPECT_SECONDS", 3_600.0)
        with found.connection(), found.connection():
            pass
        try:
            admin.execute("alter role current_user set synchronous_commit = 'off'")
            assert ask() == "answered", "what is committed on this connection is kept"
            admin.execute(gone)
            until(lambda: ask() == "UnsafeDatabase" and len(lines) >= 2, "two other connections")
        finally:
            admin.execute("alter role current_user reset all")
        assert ask() == "UnsafeDatabase", "until the next inspection"
        monkeypatch.setattr(inspection, "INSPECT_SECONDS", 0.0)
        assert [ask(), ask(), ask()] == ["UnsafeDatabase", "answered", "answered"]
        with found.connection() as connection:
            connection.execute("set synchronous_commit = off")
        assert "UnsafeDatabase" in (ask(), ask()), "a setting may change while a connection lasts"


def test_of_many_who_meet_an_unsafe_database_at_once_one_drains_the_pool(database, monkeypatch):
    monkeypatch.setattr(inspection, "INSPECT_SECONDS", 0.0)
    together, drains = Barrier(4, timeout=20), []
    with Database(database.url, size=4, unsafe_accepted=frozenset(), met_unsafe=together.wait) as found:
        drain = found._pool.drain
        monkeypatch.setattr(found._pool, "drain", lambda: drains.append(drain()))

        def ask(_: int) -> None:
            with pytest.raises(UnsafeDatabase), found.connection():
                pass

        with ThreadPoolExecutor(4) as others:
            list(others.map(ask, range(4)))
            assert drains == [None]
            list(others.map(ask, range(4)))
    assert drains == [None] * 2, "another server that may forget is met anew"


def test_a_worker_asks_again_whenever_it_reaches_its_queue_and_does_nothing_meanwhile(settings):
    strict = replace(settings, unsafe_postgres=frozenset())
    with pytest.raises(UnsafeDatabase):
        asyncio.run(_work(strict, None, asyncio.Event()))
    with closing(open_runtime(strict)) as runtime:
        for work in (runtime.database, runtime.groups):
            with pytest.raises(UnsafeDatabase):
                work.transact(factories.OPERATOR, lambda tx: None)


def test_a_worker_ends_in_its_line_when_its_database_becomes_unsafe(database, settings, monkeypatch):
    """Procrastinate's own connections stay as they are: what is fetched on them would end without its work."""
    admin, others = database.connect(admin=True), frozenset(OFF) - {"synchronous_commit"}
    setting = f"alter database {database.name} set synchronous_commit = "
    admin.execute(setting + "on")
    strict = replace(settings, unsafe_postgres=others)
    working = "select from pg_stat_activity where datname = current_database() and query like 'listen%'"
    gone = (
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name like 'postbox worker%'"
    )
    with closing(open_runtime(strict)) as runtime, ThreadPoolExecutor(1) as other:
        monkeypatch.setattr(jobs_app, "runtime", lambda: runtime)
        sweeper = Sweeper(runtime, moving_passes(runtime), name="sweeper")
        life = other.submit(asyncio.run, _work(strict, runtime, asyncio.Event()))
        until(lambda: admin.execute(working).rowcount, "a worker that listens")
        admin.execute(setting + "off")
        admin.execute(gone)
        sweeper.start()
        try:
            with pytest.raises(UnsafeDatabase, match="synchronous_commit = off: a crash"):
                life.result(timeout=20)
            assert runtime.draining.is_set()
        finally:
            runtime.unsafe.set()
            sweeper.stop()
