"""Plain webhooks are answered without the framework exactly as with it, and all that is not plain is left to it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest
import requests

from app.config import SANDBOX_API_KEY, Settings
from app.db import Tx
from app.gateway import create_app
from app.gateway.context import EXTENSION, Gateway
from app.gateway.framing import Incoming
from app.gateway.plain_webhooks import MOST_BYTES, PlainWebhook, answer, plain
from app.gateway.webhooks import RECEIVED
from app.services.webhooks import store_polled
from tests import factories
from tests.fixtures import told as fixture
from tests.fixtures.database import KEY_PEPPER, WEBHOOK_SECRET
from tests.gateway.test_server import server, serving  # noqa: F401 (a fixture)
from tests.gateway.test_webhooks import EVENT, PATH, signed
from tests.gateway.waiting import until_waiting

# What two answers to the same never have in common, and its members in a log.
OWN = {"X-Request-Id", "traceparent", "Date"}
TRACE = f"traceparent: 00-{'a' * 32}-{'b' * 16}-01"
OWN_LOGGED = {"request_id", "trace_id", "seconds", "at"}


def event(number: int) -> bytes:
    return json.dumps(EVENT | {"id": f"evt_{number}"}).encode()


def wired(body: bytes, *more: str, line: str = f"POST {PATH} HTTP/1.1", **how: object) -> bytes:
    """A webhook as it is sent; `more` are lines of its head."""
    headers = signed(body, **how) | {"Host": "127.0.0.1", "Content-Length": str(len(body))}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items()), *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


def read(edge: Gateway, sent: bytes) -> PlainWebhook | None:
    incoming = Incoming(bytearray(sent))
    assert incoming.is_whole()
    return plain(edge, incoming)


def split(told: bytes) -> tuple[bytes, dict[str, str], bytes]:
    head, _, body = told.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    named = [line.decode().partition(": ") for line in lines]
    return status, {name: "" if name in OWN else value for name, _, value in named}, body


@pytest.fixture
def edge(app) -> Gateway:
    return app.extensions[EXTENSION]


@pytest.fixture(scope="module")
def judge() -> Iterator[Gateway]:
    """Of an application that asks no database."""
    nowhere = "postgresql://127.0.0.1:9/"
    secrets = {"key_pepper": KEY_PEPPER, "stripe_api_key": SANDBOX_API_KEY, "stripe_webhook_secrets": (WEBHOOK_SECRET,)}
    edge: Gateway = create_app(Settings(nowhere, nowhere, **secrets)).extensions[EXTENSION]
    yield edge
    edge.door.close()


def ask(port: int, sent: bytes, *, answers: int = 1) -> list[bytes]:
    """Send bytes over one connection, and read so many answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(sent)
        return heard(client, answers)


def heard(client: socket.socket, answers: int) -> list[bytes]:
    received = b""
    while received.count(RECEIVED) < answers:
        chunk = client.recv(65_536)
        assert chunk, received
        received += chunk
    return [part + RECEIVED for part in received.split(RECEIVED)[:-1]]


def test_plain_webhooks_are_answered_told_of_and_stored_as_by_the_framework_and_in_their_order(server, sql):  # noqa: F811
    ways = [(), ("TE: trailers",), (), (), ("TE: trailers",), ()]
    sent = [wired(event(n), f"X-Request-Id: n{n}", TRACE, *way) for n, way in enumerate(ways)]
    told = ask(server.port, b"".join(sent), answers=len(sent))
    assert [f"X-Request-Id: n{n}\r".encode() in one for n, one in enumerate(told)] == [True] * len(sent)
    assert all(b"traceparent: 00-" + b"a" * 32 in one for one in told)
    assert split(told[0])[0] == b"HTTP/1.1 200 OK" and all(split(one) == split(told[0]) for one in told)
    lines = [json.loads(line) for line in (server.home / "log").read_text().splitlines() if "/webhooks/" in line]
    shared = [{name: value for name, value in line.items() if name not in OWN_LOGGED} for line in lines]
    assert shared == [shared[0]] * len(sent) and [line["request_id"] for line in lines] == [f"n{n}" for n in range(6)]
    counted = 'postbox_http_requests_total{method="POST",route="/webhooks/stripe/{account}",status="200"} 6.0'
    assert counted in requests.get(f"{server.url}/metrics", timeout=5).text
    entries = "select actor_id, request_id, correlation_id from audit_log where action = 'webhook.received' order by id"
    assert sql.execute(entries).fetchall() == [
        {"actor_id": "webhook:stripe/default", "request_id": f"n{n}", "correlation_id": "a" * 32} for n in range(6)
    ]


@pytest.mark.parametrize(
    "more",
    [
        ["Transfer-Encoding: chunked"], ["Expect: 100-continue"], ["Upgrade: h2c"], ["Connection: close"], ["X: a\tb"],
        ["Stripe-Signature: t=1,v1=0"], ["stripe-signature: t=1,v1=0"], ["X_Y: a"], ["X : a"], ["X:a"], [" folded"],
        ["X: \x7f"], ["X: é"], ["X:"], [f"X: {'a' * 4_000}"], [f"X-{n}: a" for n in range(40)],
    ],
    ids=str,
)  # fmt: skip
def test_a_head_that_needs_judging_is_not_plain(judge, more):
    assert read(judge, wired(event(1))) is not None
    incoming = Incoming(bytearray(wired(event(1), *more)))
    incoming.is_whole()
    assert plain(judge, incoming) is None


@pytest.mark.parametrize(
    "line",
    [
        f"POST {PATH} HTTP/1.0", f"GET {PATH} HTTP/1.1", f"post {PATH} HTTP/1.1", f"POST {PATH}/ HTTP/1.1",
        f"POST {PATH}?a=b HTTP/1.1", "POST /webhooks/stripe/other HTTP/1.1", "POST /webhooks/stripe/def%61ult HTTP/1.1",
        "POST /v1/payments HTTP/1.1", f"POST  {PATH} HTTP/1.1", f"POST http://127.0.0.1{PATH} HTTP/1.1",
    ],
)  # fmt: skip
def test_nor_is_another_request(judge, line):
    assert read(judge, wired(event(1), line=line)) is None


def test_nor_is_one_without_a_length_or_a_host_or_that_is_large(judge):
    sent = wired(event(1))
    assert read(judge, sent.replace(b"Host: 127.0.0.1\r\n", b"")) is None
    assert read(judge, sent.replace(b"Host: 127.0.0.1\r\n", b"Host: a/b\r\n")) is None
    assert read(judge, sent.replace(b"Content-Length", b"X-Length")) is None
    assert read(judge, sent.replace(b"Content-Length: ", b"Content-Length: 00000000000000")) is None
    assert read(judge, wired(b" " * MOST_BYTES)) is not None
    assert read(judge, wired(b" " * (MOST_BYTES + 1))) is None


def test_what_is_not_believed_is_left_to_the_framework_and_holds_up_nobody(app, edge, sql):
    sent = [wired(event(1)), wired(event(2), secret="whsec_other"), wired(b"{}"), wired(event(3), age=360)]
    told = answer(app, edge, [read(edge, one) for one in sent])
    assert [one and split(one)[0] for one in told] == [b"HTTP/1.1 200 OK", None, None, None]
    assert sql.execute("select provider_event_id as id from webhooks").fetchall() == [{"id": "evt_1"}]
    assert sql.execute("select from webhook_rejections").fetchall() == []


def test_what_cannot_be_stored_together_is_left_to_the_framework(app, edge, sql):
    sql.execute("alter table webhooks add constraint no_two check (provider_event_id <> 'evt_2')")
    webhooks = [read(edge, wired(event(n))) for n in (1, 2)]
    assert answer(app, edge, webhooks) == [None, None]
    assert sql.execute("select from webhooks").fetchall() == []
    assert answer(app, edge, webhooks[:1]) != [None]


def test_one_that_was_awaited_while_somebody_holds_its_payment_is_answered_with_the_others(app, edge, sql, database):
    payment = factories.payment(sql, "confirmed")
    with factories.acting(sql, "reconciler"):
        store_polled(Tx(sql), [fixture.told(event_id="evt_1", payment_ref=payment["provider_ref"])])
    edge.database.timeouts = replace(edge.database.timeouts, lock=50)
    blocker = database.connect(admin=True, autocommit=False)
    blocker.execute("select from payments for update")
    answers = answer(app, edge, [read(edge, wired(event(n))) for n in (1, 2)])
    blocker.rollback()
    assert [split(one)[0] for one in answers] == [b"HTTP/1.1 200 OK"] * 2
    assert sql.execute("select over_by from awaited_webhooks").fetchall() == [{"over_by": "webhook"}]


def test_when_the_database_is_busy_all_are_told_to_come_back_at_once(app, edge, sql, database):
    edge.database.timeouts = replace(edge.database.timeouts, lock=50)
    blocker = database.connect(admin=True, autocommit=False)
    blocker.execute("lock table webhooks")
    told = answer(app, edge, [read(edge, wired(event(n))) for n in (1, 2)])
    blocker.rollback()
    assert [split(one)[0] for one in told] == [b"HTTP/1.1 503 Service Unavailable"] * 2
    assert {split(one)[1]["Retry-After"] for one in told} == {"1"}
    assert sql.execute("select from webhooks").fetchall() == []


def test_without_a_database_it_is_the_problem_that_the_framework_answers(settings, monkeypatch):
    app = create_app(settings)
    edge: Gateway = app.extensions[EXTENSION]
    edge.database.close()
    monkeypatch.setattr(edge.database, "open", lambda: None)  # as a pool that never gets a connection
    [told] = answer(app, edge, [read(edge, wired(event(1)))])
    raw = event(1)
    framed = app.test_client().post(PATH, data=raw, headers=signed(raw))
    status, headers, body = split(told)
    assert status == b"HTTP/1.1 503 Service Unavailable" and framed.status_code == 503
    assert headers["Retry-After"] == framed.headers["Retry-After"] and headers["Connection"] == "keep-alive"
    assert json.loads(body) | {"request_id": ""} == framed.get_json() | {"request_id": ""}
    edge.door.close()


@pytest.mark.parametrize(("proto", "secure"), [("https", True), ("http", False)])
def test_behind_a_proxy_it_says_to_come_by_tls_where_the_proxy_was_asked_so(settings, proto, secure):
    trusting = create_app(replace(settings, trusted_proxies=1))
    edge: Gateway = trusting.extensions[EXTENSION]
    with edge.database:
        [told] = answer(trusting, edge, [read(edge, wired(event(1), f"X-Forwarded-Proto: {proto}"))])
        framed = trusting.test_client().post(
            PATH, data=event(1), headers=signed(event(1)) | {"X-Forwarded-Proto": proto}
        )
    assert ("Strict-Transport-Security" in split(told)[1], "Strict-Transport-Security" in framed.headers) == (
        secure,
    ) * 2
    assert read(edge, wired(event(1), "X-Forwarded-Proto: https, http")) is None
    assert read(edge, wired(event(1))) is None
    edge.door.close()


def test_a_mistake_costs_a_connection_and_no_process(database, tmp_path):
    clumsy = {"GUNICORN_CMD_ARGS": "--bind 127.0.0.1:{port} --worker-class tests.gateway.hurried.ClumsyWorker"}
    with serving(database, tmp_path, WEB_CONCURRENCY="1", **clumsy) as one:
        [worker] = one.workers()
        ended(one.port, wired(event(1), "X-Request-Id: clumsy"))
        assert split(ask(one.port, wired(event(1)))[0])[0] == b"HTTP/1.1 200 OK"
        assert one.workers() == [worker]


def test_a_connection_that_gunicorn_closed_itself_is_counted_no_more(database, tmp_path):
    """It does so where the application breaks off in an answer. Were they counted, nobody would find room at last."""
    room = 8
    clumsy = {
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{{port}} --worker-class tests.gateway.hurried.ClumsyWorker"
        f" --worker-connections {room}"
    }
    with serving(database, tmp_path, WEB_CONCURRENCY="1", **clumsy) as one:
        for _ in range(room):
            ended(one.port, b"GET /healthz?clumsy HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert "Error handling request" in (tmp_path / "log").read_text()
        assert one.answers("/healthz")


def ended(port: int, sent: bytes) -> None:
    """A connection ends with what was sent over it, and no answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(sent)
        assert client.recv(65_536) == b""


def test_a_process_that_ends_has_answered_every_webhook_that_it_holds(database, sql, tmp_path):
    """Two groups wait for a lock and one webhook for them; their client hears that its connection ends."""
    locked = {"GUNICORN_CMD_ARGS": "--bind 127.0.0.1:{port} --worker-class tests.gateway.hurried.LockedWorker"}
    blocker = database.connect(admin=True, autocommit=False)
    blocker.execute("lock table webhooks")
    with serving(database, tmp_path, WEB_CONCURRENCY="1", **locked) as one, ExitStack() as connected:
        clients = [connected.enter_context(socket.create_connection(("127.0.0.1", one.port), 20)) for _ in range(3)]
        for number, client in enumerate(clients[:2], 1):
            client.sendall(wired(event(number)))
            until_waiting(sql, number)
        clients[2].sendall(wired(event(3)))
        assert one.answers("/healthz"), "so the third was read before it"
        one.process.terminate()
        until_waiting(sql, 3)
        blocker.rollback()
        told = [split(heard(client, 1)[0]) for client in clients]
        assert [(status, headers["Connection"]) for status, headers, _ in told] == [
            *[(b"HTTP/1.1 200 OK", "keep-alive")] * 2,
            (b"HTTP/1.1 200 OK", "close"),
        ]
    stored = sql.execute("select provider_event_id as id from webhooks order by id").fetchall()
    assert [row["id"] for row in stored] == ["evt_1", "evt_2", "evt_3"]


def test_one_that_waits_too_long_for_those_before_it_is_told_to_come_back(database, sql, tmp_path):
    """Two groups wait for a lock, for longer than the third has patience; one client has sent its next already."""
    hurried = {"GUNICORN_CMD_ARGS": "--bind 127.0.0.1:{port} --worker-class tests.gateway.hurried.HurriedWorker"}
    blocker = database.connect(admin=True, autocommit=False)
    blocker.execute("lock table webhooks")
    with (
        serving(database, tmp_path, WEB_CONCURRENCY="1", **hurried) as one,
        ThreadPoolExecutor(1) as pool,
        socket.create_connection(("127.0.0.1", one.port), timeout=20) as early,
        socket.create_connection(("127.0.0.1", one.port), timeout=20) as client,
    ):
        early.sendall(wired(event(1)))
        until_waiting(sql, 1)
        early.sendall(wired(event(4)))
        other = pool.submit(ask, one.port, wired(event(2)))
        until_waiting(sql, 2)
        client.sendall(wired(event(3)))
        status, headers, _ = split(client.recv(65_536))
        blocker.rollback()
        assert (status, headers["Retry-After"]) == (b"HTTP/1.1 503 Service Unavailable", "5")
        client.sendall(wired(event(3)))
        told = heard(client, 1) + heard(early, 2) + other.result()
        assert [split(one)[0] for one in told] == [b"HTTP/1.1 200 OK"] * 4
