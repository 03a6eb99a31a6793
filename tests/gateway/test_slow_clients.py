"""A client that sends slowly, or too much, or nothing, or does not hang up, costs the others nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests

from app.gateway.framing import MAX_BODY_BYTES, MAX_HEAD_BYTES, BodyTooLarge, HeadTooLarge, Incoming
from app.gateway.patient_worker import REQUEST_SECONDS
from app.gateway.security_headers import ALWAYS
from tests import factories
from tests.fixtures.database import clone
from tests.gateway.conftest import CARD
from tests.gateway.test_server import server, serving  # noqa: F401 (a fixture)
from tests.gateway.waiting import until
from tests.load.loris import Crowd, Readers, healthy

CROWD = 1_000
# Clients of a process that has room for a third of them, and how often each sends a byte.
CROWDED, DRIBBLES = 24, 300
# What a healthy client may wait beside a crowd; and more than it waits without one, on a machine that others use too.
PATIENT_SECONDS = 1.0
# Quiet, the slowest answer of a look takes 0.2 s; beside twelve busy loops on two cores, 1.6 s in the first look, while
# the whole crowd is hung up on in the same moment, and 0.4 s in the second.
LOOKS = 3


def exchange(port: int, raw: bytes, *, pieces: int = 1, pause: float = 0.0) -> tuple[int, dict[str, str], bytes]:
    """Send these bytes in so many pieces; the first answer to them."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        size = -(-len(raw) // pieces)
        for at in range(0, len(raw), size):
            client.sendall(raw[at : at + size])
            time.sleep(pause)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, {name: value for name, value in answer.getheaders()}, answer.read()


def post(key: str, *, length: int | None = None, more: str = "") -> bytes:
    body = json.dumps(CARD).encode()
    return (
        f"POST /v1/payments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: k\r\n{more}"
        f"Content-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    ).encode() + body


def slowest(answers: list[tuple[float, int]]) -> float:
    return max(seconds for seconds, _ in answers)


def test_a_thousand_slow_clients_leave_a_healthy_one_under_a_second(server, database, sql, tmp_path):  # noqa: F811
    """A second server, which no crowd is at, tells what this machine costs its clients at the same time.

    Where the machine is in the way, the second itself is looked for again: what a crowd costs, it costs every time.
    """
    key = factories.api_key(sql, factories.merchant(sql)["id"]).text()
    (tmp_path / "calm").mkdir()
    with serving(database, tmp_path / "calm") as calm, ThreadPoolExecutor(2) as pool:
        ports = (server.port, calm.port)
        list(pool.map(lambda port: healthy(port, key, seconds=1), ports))
        with Crowd(server.port, CROWD) as crowd:
            for _ in range(LOOKS):
                crowded, quiet = pool.map(lambda port: healthy(port, key, seconds=REQUEST_SECONDS + 5), ports)
                assert crowd.connected == CROWD
                assert {status for _, status in crowded + quiet} == {200}
                assert slowest(crowded) < slowest(quiet) + PATIENT_SECONDS
                if slowest(crowded) < PATIENT_SECONDS:
                    break
    assert slowest(crowded) < PATIENT_SECONDS
    # each of them was told, or hung up on, when its time was over
    assert {kind for kind, n in crowd.seen.items() if n} == {"head 408", "body 408", "chunked 408"}
    assert crowd.opened > CROWD


def test_clients_who_do_not_hang_up_hold_nobody(one_server):
    """One process, so that nobody else takes the healthy client's turn; who held it would do so in every look."""
    for _ in range(LOOKS):
        kept = [socket.create_connection(("127.0.0.1", one_server.port), timeout=20) for _ in range(20)]
        for client in kept:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = healthy(one_server.port, "nobody's", seconds=1)
        for client in kept:
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
            client.close()
        if slowest(answers) < PATIENT_SECONDS:
            break
    assert slowest(answers) < PATIENT_SECONDS


def test_clients_who_do_not_read_hold_no_thread_and_are_let_go(database, tmp_path):
    """Twice as many as there are threads, each of whom takes a byte now and then of the largest answer there is."""
    hurried = {"GUNICORN_CMD_ARGS": "--bind 127.0.0.1:{port} --worker-class tests.gateway.hurried.HurriedWorker"}
    with serving(database, tmp_path, WEB_CONCURRENCY="1", **hurried) as one:
        for look in range(1, LOOKS + 1):
            with Readers(one.port, 8) as readers:
                answers = healthy(one.port, "nobody's", seconds=1)
                hold_on_until_let_go(one, readers, so_far=8 * look)
            if slowest(answers) < PATIENT_SECONDS:
                break
        assert '"kind":"slow_reader"' in (one.home / "log").read_text()
    assert slowest(answers) < PATIENT_SECONDS


def hold_on_until_let_go(one, readers, *, so_far: int) -> None:
    counted = f'postbox_turned_away_total{{kind="slow_reader"}} {so_far}.0'
    until(lambda: readers.drip() or counted in requests.get(one.url + "/metrics", timeout=60).text, counted)
    assert readers.let_go() == 8


def test_a_large_answer_comes_whole_to_who_reads_it_slowly(one_server):
    with Readers(one_server.port, 1) as readers:
        [reader] = readers.clients
        received = bytearray()
        while chunk := reader.recv(20_000):
            received += chunk
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == requests.get(f"{one_server.url}{Readers.PATH}", timeout=10).content


def test_a_request_may_come_in_pieces_and_several_in_one(server, sql):  # noqa: F811
    key = factories.api_key(sql, factories.merchant(sql)["id"]).text()
    assert exchange(server.port, post(key), pieces=20, pause=0.02)[0] == 201
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        ask = f"GET /v1/payments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
        client.sendall(ask * 3 + ask[:30])
        time.sleep(0.2)
        client.sendall(ask[30:])
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 4:
            received += client.recv(65_536)
    assert received.count(b"HTTP/1.1 ") == 4


def test_a_client_that_waits_for_a_word_gets_it(server, sql):  # noqa: F811
    key = factories.api_key(sql, factories.merchant(sql)["id"]).text()
    whole = post(key, more="Expect: 100-continue\r\n")
    head, _, body = whole.partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 201


REFUSED = [
    (b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri_too_long"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 9_000 + b"\r\n\r\n", 431, "request_header_fields_too_large"),
    (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n", 431, "request_header_fields_too_large"),
    (b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * MAX_HEAD_BYTES, 431, "request_header_fields_too_large"),
    (post("k", length=MAX_BODY_BYTES + 1), 413, "body_too_large"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n", 413, "body_too_large"),
    (b"nonsense\r\n\r\n", 400, "bad_request"),
    (b"\r\n\r\n", 400, "bad_request"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 400, "bad_request"),
    (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "bad_request"),
    (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "bad_request"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, x\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", 501, "not_implemented"),
]


@pytest.fixture(scope="module")
def one_server(cluster, template, tmp_path_factory):
    home = tmp_path_factory.mktemp("server")
    with contextmanager(clone)(cluster, template) as database, serving(database, home, WEB_CONCURRENCY="1") as running:
        yield running


@pytest.mark.parametrize("raw, status, code", REFUSED, ids=[f"{n}-{code}" for n, (_, _, code) in enumerate(REFUSED)])
def test_what_is_no_request_of_ours_is_a_problem_like_any_other(one_server, raw, status, code):
    got, sent, body = exchange(one_server.port, raw)
    problem = json.loads(body)
    assert (got, problem["status"], problem["code"]) == (status, status, code)
    assert (problem["type"], problem["instance"]) == ("urn:postbox:problem:" + code.replace("_", "-"), "/")
    assert {name: sent.get(name) for name in ALWAYS} == ALWAYS
    assert sent["Content-Type"] == "application/problem+json"
    assert (sent["Connection"], sent["X-Request-Id"]) == ("close", problem["request_id"])


@pytest.mark.parametrize("chunks", [b"xx\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"3;\x00\r\nabc\r\n0\r\n\r\n", b"-1\r\n\r\n"])
def test_chunks_that_are_none_are_a_bad_request(one_server, chunks):
    head = b"POST /webhooks/stripe/default HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _, body = exchange(one_server.port, head + chunks)
    assert (status, json.loads(body)["code"]) == (400, "bad_request")


def test_no_answer_names_the_server_and_no_log_holds_what_a_bad_header_held(one_server):
    secret = "pb_test_canary_secret"
    bad = f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer {secret}\r\n\r\n".encode()
    assert exchange(one_server.port, bad)[0] == 400
    for raw in (bad, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
        assert "Server" not in exchange(one_server.port, raw)[1]
    log = (one_server.home / "log").read_text()
    assert '"kind":"bad_request"' in log
    assert secret not in log and "127.0.0.1" not in log.partition("Booting worker")[2]


def fed(raw: bytes, size: int) -> int:
    """Bytes that were needed, given so many at a time, before the request was whole."""
    incoming = Incoming()
    for at in range(0, len(raw), size):
        incoming.buffer += raw[at : at + size]
        if incoming.is_whole():
            return len(incoming.buffer)
    raise AssertionError("never whole")


HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\ncontent-length:5\r\n\r\n12345",
    HEAD + b"0\r\n\r\n",
    HEAD + b"5;x=y\r\n12345\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n",
    HEAD + b"4\r\n\r\n\r\n\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("raw", WHOLE)
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_a_request_is_whole_with_its_last_byte_and_not_before(raw, size):
    assert fed(raw, size) == len(raw)


@pytest.mark.parametrize("size", [1, 1_000])
def test_what_never_ends_is_given_up(size):
    with pytest.raises(HeadTooLarge):
        fed(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES, size)
    with pytest.raises(BodyTooLarge):
        fed(HEAD + b"1;" + b"x" * 2_000, size)
    with pytest.raises(BodyTooLarge):
        fed(HEAD + b"8000\r\n" + (b"x" * 0x8000 + b"\r\n8000\r\n") * 10, size * 1_000)


def test_connections_that_end_in_the_turn_in_which_they_send_something_cost_no_process(database, tmp_path):
    """Whoever comes when there is no room ends another, whose bytes may have been found in the same turn."""
    full = {"GUNICORN_CMD_ARGS": "--bind 127.0.0.1:{port} --worker-connections 8", "WEB_CONCURRENCY": "1"}
    with serving(database, tmp_path, POSTBOX_WEB_THREADS="1", **full) as small, ThreadPoolExecutor(CROWDED) as pool:
        [worker] = small.workers()
        dribbled = sum(pool.map(lambda _: dribble(small.port), range(CROWDED)))
        assert dribbled > 2 * CROWDED, "connections were ended and made again"
        assert small.workers() == [worker] and small.answers("/healthz")


def dribble(port: int) -> int:
    """A head by the byte, from connection to connection as each is ended; how many there were."""
    count, left = 0, DRIBBLES
    while left:
        count += 1
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.settimeout(0.005)
            ended = False
            while left and not ended:
                left -= 1
                client.sendall(b"G")
                with contextlib.suppress(TimeoutError):
                    ended = client.recv(1) == b""
    return count
