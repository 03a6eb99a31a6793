"""A database host that is gone without a word is given up after seconds, by whoever waits for it."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import psycopg
import pytest

from app.db import Database, network
from app.db.migrate import migrate
from jobs.app import make_app
from jobs.queue import autocommit_pool, opened
from tests.fixtures.database import Clone
from tests.fixtures.vanishing import vanishing
from tests.gateway.waiting import until
from tests.wiring.test_sql_in_python import SOURCES, parse

# What the kernel is to know of each socket.
BOUNDED = {
    socket.TCP_KEEPIDLE: network.KEEPALIVES_IDLE_SECONDS,
    socket.TCP_KEEPINTVL: network.KEEPALIVES_INTERVAL_SECONDS,
    socket.TCP_KEEPCNT: network.KEEPALIVES_COUNT,
    socket.TCP_USER_TIMEOUT: network.TCP_USER_TIMEOUT_MS,
}
# The least that the kernel and libpq can tell apart: seconds.
HURRIED = MappingProxyType(dict.fromkeys(network.BOUNDS, 1) | {"tcp_user_timeout": 1_000, "connect_timeout": 2})
CONNECTS = re.compile(r"psycopg\.connect$|ConnectionPool(\[\w+\])?$")


def bounds(descriptor: int) -> dict[int, int]:
    """What the kernel knows of this socket; it stays open."""
    with socket.socket(fileno=os.dup(descriptor)) as one:
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        return {option: one.getsockopt(socket.IPPROTO_TCP, option) for option in BOUNDED}


def of_the_pool(database: Clone) -> dict[int, int]:
    with database.open(size=1).connection() as connection:
        return bounds(connection.pgconn.socket)


def of_the_queue(database: Clone) -> dict[int, int]:
    async def ask() -> dict[int, int]:
        async with opened(autocommit_pool(database.url, size=1)) as pool, pool.connection() as connection:
            return bounds(connection.pgconn.socket)

    return asyncio.run(ask())


def of_the_ear(database: Clone) -> dict[int, int]:
    async def ask() -> dict[int, int]:
        application: Any = make_app()
        async with (
            opened(autocommit_pool(database.url, size=1)) as pool,
            application.open_async(pool),
            application.connector._get_standalone_connection() as connection,
        ):
            return bounds(connection.pgconn.socket)

    return asyncio.run(ask())


def of_the_unmodified_worker(database: Clone) -> dict[int, int]:
    async def ask() -> dict[int, int]:
        application: Any = make_app()
        async with application.open_async(), application.connector.pool.connection() as connection:
            return bounds(connection.pgconn.socket)

    return asyncio.run(ask())


def of_the_migrator(database: Clone) -> dict[int, int]:
    database.connect(admin=True).execute("delete from schema_migrations where name = 'grants.sql'")
    before, found = sockets(), []
    migrate(database.admin_url, report=lambda _: found.extend(map(bounds, sockets() - before)))
    [one] = found
    return one


def sockets() -> set[int]:
    """Descriptors of this process that are sockets."""
    return {int(fd) for fd in os.listdir("/proc/self/fd") if _target(fd).startswith("socket:")}


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return ""


def test_the_kernel_asks_a_silent_host_whether_it_is_there_on_every_kind_of_connection(
    database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.url)
    kinds = (of_the_pool, of_the_queue, of_the_ear, of_the_unmodified_worker, of_the_migrator)
    assert [(kind.__name__, kind(database)) for kind in kinds] == [(kind.__name__, BOUNDED) for kind in kinds]


def connecting() -> Iterator[tuple[str, str]]:
    """Where we connect, and what with."""
    for path in SOURCES:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call) and CONNECTS.search(ast.unparse(node.func)):
                yield f"{path.name}:{node.lineno}", ast.unparse(node.args[0]) if node.args else ""


def test_no_connection_of_ours_is_without_bounds() -> None:
    found = dict(connecting())
    assert len(found) >= 6
    assert {where: what for where, what in found.items() if not re.match(r"(bounded|worker_conninfo)\(", what)} == {}


def test_an_answer_of_a_host_that_has_vanished_is_not_waited_for(
    database: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement was acknowledged and goes on; of what was sent nothing is outstanding."""
    monkeypatch.setattr(network, "BOUNDS", HURRIED)
    admin = database.connect(admin=True)
    asleep = "select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
    with ThreadPoolExecutor(1) as pool, vanishing(database.cluster.port) as host:
        url = database.url.replace(f":{database.cluster.port}/", f":{host.port}/")
        with Database(url, size=1) as gone, gone.connection() as connection:
            told = pool.submit(connection.execute, "select pg_sleep(3600)")
            until(lambda: admin.execute(asleep).rowcount, "the statement to run")
            host.vanish()
            with pytest.raises(psycopg.OperationalError):
                told.result(timeout=network.KEEPALIVES_IDLE_SECONDS)
