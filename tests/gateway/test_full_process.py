"""A process that has no room for one more connection, or no file for it, still answers whoever comes."""

from __future__ import annotations

import http.client
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from app.gateway.patient_loop import NO_FILE_SECONDS
from app.gateway.patient_worker import MAX_UNSENT_BYTES
from tests.gateway.test_server import Server, serving
from tests.gateway.waiting import until
from tests.load.loris import Readers

ROOM, THREADS = 40, 4
# gunicorn keeps no more connections alive than leave one for each thread.
IDLE = ROOM - THREADS
NEWCOMERS = 10
ASK = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def full(request, database, tmp_path: Path) -> Iterator[Server]:
    threads = getattr(request, "param", THREADS)
    small = f"--bind 127.0.0.1:{{port}} --worker-connections {ROOM} --keep-alive 60"
    env = {"GUNICORN_CMD_ARGS": small, "WEB_CONCURRENCY": "1", "POSTBOX_WEB_THREADS": str(threads)}
    with serving(database, tmp_path, **env) as server:
        yield server


def answered(client: socket.socket) -> int:
    """The status of the answer to one more request on this connection; 0 when it has ended."""
    try:
        client.sendall(ASK)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        answer.read()
    except (ConnectionError, http.client.BadStatusLine):
        return 0
    return answer.status


@contextmanager
def clients(server: Server, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as connected:
        yield [
            connected.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            for _ in range(count)
        ]


# One thread: a client has its answer before its connection counts as idle, and two threads may say so in either order.
@pytest.mark.parametrize("full", [1], indirect=True)
def test_a_newcomer_takes_the_place_of_who_has_been_idle_longest(full):
    with clients(full, IDLE) as idle:
        assert [answered(client) for client in idle] == [200] * IDLE
        with clients(full, NEWCOMERS) as newcomers:
            assert [answered(client) for client in newcomers] == [200] * NEWCOMERS
        ended = NEWCOMERS - (ROOM - IDLE) + 1
        assert [answered(client) for client in idle] == [0] * ended + [200] * (IDLE - ended)
    assert turned_away(full, "no_room") == ended


def test_or_before_that_of_who_has_an_answer_and_does_not_hang_up(full):
    with clients(full, IDLE) as idle:
        assert [answered(client) for client in idle] == [200] * IDLE
        with ExitStack() as connected:
            for _ in range(NEWCOMERS):
                [newcomer] = connected.enter_context(clients(full, 1))
                newcomer.sendall(LAST)
                # to the end: the process has said that this was all, and waits for the newcomer to hang up
                assert newcomer.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
            assert [answered(client) for client in idle] == [200] * IDLE


# Of an answer, what a client leaves to the process that has read most of it; a part of that is in the kernel's hands.
LEFT = 300_000
SMALL, LARGE = 8, 20


def test_answers_that_wait_are_bounded_and_who_holds_less_than_a_share_stays(full):
    whole = len(requests.get(full.url + Readers.PATH, timeout=20).content)
    with Readers(full.port, SMALL) as small:
        for client in small.clients:
            read(client, whole - LEFT)
        with Readers(full.port, LARGE) as large:
            until(lambda: turned_away(full, "slow_reader") + MAX_UNSENT_BYTES // (whole - LEFT) >= LARGE, "the bound")
            let_go = large.let_go()
            assert let_go == turned_away(full, "slow_reader")
            assert (LARGE - let_go) * (whole - LEFT) <= MAX_UNSENT_BYTES
        assert small.let_go() == 0


def read(client: socket.socket, count: int) -> None:
    while count > 0:
        count -= len(client.recv(min(65_536, count)))


def turned_away(server: Server, kind: str) -> int:
    told = requests.get(f"{server.url}/metrics", timeout=60).text
    found = re.search(rf'postbox_turned_away_total\{{kind="{kind}"\}} (\S+)', told)
    return int(float(found[1])) if found else 0


def test_without_a_file_for_a_newcomer_it_waits_and_neither_ends_nor_spins(full):
    [worker] = full.workers()
    limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, limits[1]))
    began = time.monotonic()
    with clients(full, 1) as [newcomer]:
        newcomer.sendall(ASK)
        told = full.home / "log"
        until(lambda: told.read_text().count('"kind":"no_file"') > 1 or full.workers() != [worker], "two lines of it")
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
        assert newcomer.recv(12) == b"HTTP/1.1 200"
    assert full.workers() == [worker]
    assert turned_away(full, "no_file") <= (time.monotonic() - began) / NO_FILE_SECONDS + 1
