"""No process starts on a PostgreSQL that would lose what it acknowledged, unless it was told so in full."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from app.config import ROOT
from app.db.durability import UnsafeDatabase, refuse_unsafe
from app.gateway import create_app
from app.gateway.context import EXTENSION
from cli.dev.postgres import Cluster, ensure_cluster
from jobs.worker import _work
from tests.fixtures.cluster import OFF, SETTINGS, UNSAFE
from tests.fixtures.database import KEY_PEPPER

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
        connection.execute("alter role current_user set synchronous_commit = 'off'")
        with pytest.raises(UnsafeDatabase, match="runs with synchronous_commit = off: "):
            refuse_unsafe(strict)
        with pytest.raises(UnsafeDatabase):
            refuse_unsafe(replace(strict, unsafe_postgres=frozenset({"fsync", "full_page_writes"})))
        refuse_unsafe(replace(strict, unsafe_postgres=frozenset({"synchronous_commit"})))
        connection.execute("alter role current_user set synchronous_commit = 'local'")
        refuse_unsafe(strict)
        connection.execute("alter role current_user reset all")


def test_a_database_that_is_away_has_shown_nothing_and_is_asked_again_by_readiness(database, settings):
    strict = replace(settings, unsafe_postgres=frozenset())
    refuse_unsafe(replace(strict, database_url="postgresql://nobody@127.0.0.1:1/none"))
    app = create_app(strict)
    answer = app.test_client().get("/readyz")
    app.extensions[EXTENSION].database.close()
    told = {"status": "unready", "reason": "database_unsafe", "settings": sorted(OFF)}
    assert (answer.status_code, answer.get_json()) == (503, told)


def test_a_worker_asks_again_whenever_it_reaches_its_queue(settings):
    with pytest.raises(UnsafeDatabase):
        asyncio.run(_work(replace(settings, unsafe_postgres=frozenset()), None, asyncio.Event()))
