"""Where a request ends, the loop and the parser read alike: one request has one answer, and nothing hides in it."""

from __future__ import annotations

import contextlib
import re
import socket
from contextlib import contextmanager

import pytest

from tests import factories
from tests.fixtures.database import clone
from tests.gateway.test_server import Server, serving
from tests.gateway.test_shedding import AGED
from tests.gateway.test_webhooks import PATH
from tests.gateway.waiting import until

# What an attacker hides in a body, and an honest client sends next.
NEXT = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
# Let in and refused before its body is read; refused at the door; let in and read.
WAYS = {"GET /v1/payments": 401, "POST /v1/payments": 503, f"POST {PATH}": 400}
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def server(cluster, template, tmp_path_factory):
    """One process of one thread, whose queue is old, so that its door refuses writes."""
    env = {"WEB_CONCURRENCY": "1", "POSTBOX_WEB_THREADS": "1", "POSTBOX_SHED_QUEUE_AGE": "1"}
    env["GUNICORN_CMD_ARGS"] = "--bind 127.0.0.1:{port} --worker-class tests.gateway.hurried.MisreadingWorker"
    home = tmp_path_factory.mktemp("server")
    with contextmanager(clone)(cluster, template) as database, serving(database, home, **env) as running:
        admin = database.connect(admin=True)
        factories.payment(admin, "initiated")
        admin.execute(AGED)
        until(lambda: answered(running, head("POST /v1/payments", "Content-Length: 0")) == [503], "an old queue")
        yield running


def head(way: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{way} {version}", "Host: x", *fields, "", ""]).encode("latin-1")


def answered(server: Server, first: bytes, then: bytes = b"") -> list[int]:
    """The status of each answer to these bytes; the second ones leave once the first have had their effect."""
    received = b""
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", server.port), 20) as client:
        client.sendall(first)
        assert server.answers("/healthz"), "by the one thread, after whatever came before"
        client.sendall(then)
        client.shutdown(socket.SHUT_WR)
        while chunk := client.recv(65_536):
            received += chunk
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@every_way
@pytest.mark.parametrize("zeros", [1, 13, 14, 40, 4_000])
def test_a_length_with_zeros_before_it_hides_no_request(server, way, zeros):
    assert answered(server, head(way, f"Content-Length: {'0' * zeros}{len(NEXT)}"), NEXT) == [WAYS[way]]


@every_way
@pytest.mark.parametrize("length", ["262145", "1" + "0" * 15, "9" * 40])
def test_a_length_beyond_what_we_take_is_refused_however_long_it_is_written(server, way, length):
    assert answered(server, head(way, f"Content-Length: {length}") + NEXT) == [413]


@pytest.mark.parametrize("way", [way for way in WAYS if WAYS[way] != 503])
def test_a_connection_ends_where_the_parser_ran_out_of_the_body_that_it_was_told_of(server, way):
    hidden = head(way, f"Content-Length: {len(NEXT)}", f"X-Misread: -{len(NEXT)}")
    assert answered(server, hidden, NEXT) == [WAYS[way]]


@pytest.mark.parametrize("way", [way for way in WAYS if WAYS[way] != 503])
def test_and_where_it_left_something_of_what_the_loop_had_given_it(server, way):
    hidden = head(way, "Content-Length: 0", f"X-Misread: {len(NEXT)}")
    assert answered(server, hidden, NEXT) == [WAYS[way]]
