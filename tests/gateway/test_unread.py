"""Answers that nobody reads are bounded, and whoever reads has his however many strangers do not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from app.gateway.patient_worker import MAX_UNSENT_BYTES
from tests.gateway.test_full_process import read, turned_away
from tests.gateway.test_server import Server, serving
from tests.gateway.waiting import until
from tests.load.loris import Readers

# More than fit, and none of them holds as much as a page of ours may take.
STRANGERS, STRANGERS_PATH = 40, "/openapi.json"
# Three groups of whole answers of which the first two fit, and what the first takes while the second takes nothing.
GROUP, TAKEN = 4, 600_000
# So many send so much at once, of which the process waits for them to take the first few answers.
SENDERS, SENT_BYTES, PAGE, PAGES = 400, 60_000, "/docs/problems", 40


@pytest.fixture
def one(database, tmp_path: Path) -> Iterator[Server]:
    with serving(database, tmp_path, WEB_CONCURRENCY="1") as server:
        yield server


@contextmanager
def asking(server: Server, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Clients with little room for what they do not read."""
    with ExitStack() as connected:
        clients = [connected.enter_context(socket.socket()) for _ in range(count)]
        for client in clients:
            client.settimeout(20)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(sent)
        yield clients


def asked(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def wait_for_each(server: Server, clients: list[socket.socket]) -> None:
    """Until the process waits for each of them to take the rest of an answer."""
    for client in clients:
        assert client.recv(1, socket.MSG_PEEK)
    assert server.answers("/healthz"), "by the loop, after it has seen each thread end"


def test_strangers_who_do_not_read_cost_nobody_who_does_his_answer(one):
    whole = len(requests.get(one.url + Readers.PATH, timeout=20).content)
    with asking(one, STRANGERS, asked(STRANGERS_PATH)) as strangers:
        wait_for_each(one, strangers)
        with Readers(one.port, 1) as healthy:
            [client] = healthy.clients
            received = 0
            while chunk := client.recv(20_000):
                received += len(chunk)
    assert received > whole
    assert turned_away(one, "slow_reader") > 0


def test_whoever_has_taken_nothing_for_longest_goes_first(one):
    with Readers(one.port, GROUP) as first, Readers(one.port, GROUP) as second:
        wait_for_each(one, first.clients + second.clients)
        for client in first.clients:
            read(client, TAKEN)
        assert turned_away(one, "slow_reader") == 0
        with Readers(one.port, GROUP) as third:
            wait_for_each(one, third.clients)
            assert 0 < turned_away(one, "slow_reader") <= GROUP
            assert (first.let_go(), third.let_go()) == (0, 0)
            assert second.let_go() == turned_away(one, "slow_reader")


def test_what_came_behind_an_unread_answer_is_counted_with_it(one):
    """Pages beyond what the kernel takes, and then a body that is long in coming."""
    begun = asked(PAGE) * PAGES + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 250000\r\n\r\n"
    with asking(one, SENDERS, begun.ljust(SENT_BYTES, b"x")):
        most = MAX_UNSENT_BYTES // (SENT_BYTES - len(begun))
        until(lambda: turned_away(one, "slow_reader") >= SENDERS - most, "the bound")
