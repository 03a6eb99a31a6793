"""When too much is waiting, writes are refused before any work is done for them; reads and webhooks go on."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from app.config import Rate, Rates, SettingsError, Shed, load_settings
from app.db import Tx
from app.gateway.context import EXTENSION
from app.gateway.door import COME_BACK, Door, caller
from app.gateway.queue_age import QueueAge
from app.gateway.security_headers import ALWAYS
from app.services import pauses
from tests import factories
from tests.gateway.conftest import CARD
from tests.gateway.test_errors import assert_problem
from tests.gateway.test_server import headers, serving  # noqa: F401 (a fixture)
from tests.gateway.test_webhooks import PATH as WEBHOOKS
from tests.gateway.test_webhooks import send
from tests.gateway.waiting import until, until_waiting

LISTED = "/v1/payments"
AGED = "update deliveries set created_at = created_at - interval '1 hour', due_at = due_at - interval '1 hour'"


@pytest.fixture
def edge(app):
    return app.extensions[EXTENSION]


def shed(app, reason: str) -> float:
    lines = app.test_client().get("/metrics").text.splitlines()
    name = f'postbox_shed_total{{reason="{reason}"}}'
    return float(next((line.split()[-1] for line in lines if line.startswith(name)), 0))


def test_an_old_queue_refuses_writes_before_their_key_is_looked_at_and_nothing_else(app, api, edge, sql):
    payment = api.create()
    sql.execute(AGED)
    edge.door.age.poll_once()
    before, tokens = shed(app, "queue_age"), sql.execute("select * from rate_limits").fetchall()
    refused = [api.post(LISTED, CARD), api.post(f"{LISTED}/{payment['id']}/cancel", {"reason": "requested"})]
    refused += [app.test_client().post(LISTED)]
    for answer in refused:
        assert_problem(answer, 503, "overloaded")
        assert answer.headers["Retry-After"] == str(COME_BACK["queue_age"])
        assert "RateLimit" not in answer.headers
    assert shed(app, "queue_age") == before + 3
    assert sql.execute("select * from rate_limits").fetchall() == tokens
    assert len(sql.execute("select from idempotency_keys").fetchall()) == 1
    assert (api.get(LISTED).status_code, send(app).status_code) == (200, 200)
    assert app.test_client().get("/readyz").status_code == 200


def test_writes_come_back_with_the_workers(api, edge, sql):
    api.create()
    sql.execute(AGED)
    edge.door.age.poll_once()
    assert api.post(LISTED, CARD).status_code == 503
    sql.execute("update deliveries set status = 'done', job_id = null, done_at = clock_timestamp()")
    # asked again by itself, because writes want to know
    until(lambda: api.post(LISTED, CARD).status_code == 201, "the next poll")


def test_what_waits_on_purpose_makes_no_old_queue(api, edge, sql):
    api.create()
    sql.execute(AGED)
    sql.execute("update deliveries set job_id = null")
    edge.door.age.poll_once()
    assert edge.door.age.seconds() == 0.0


def test_a_database_that_is_away_makes_no_old_queue(settings):
    from app.db import Database

    age = QueueAge(Database("postgresql://nobody@127.0.0.1:1/none"))
    age._seconds = 1_000.0
    age._database._pool.timeout = 0.2
    age.poll_once()
    assert age.seconds() == 0.0
    age.close()
    age._database.close()


def going_on(door: Door, waiting: int = 0) -> None:
    """Reads and webhooks are let in by the door as it stands, though a write is refused."""
    for_whom = partial(caller, "", "", "")
    assert door.refusal("POST", LISTED, for_whom, waiting=waiting) is not None
    for method, path in [("GET", LISTED), ("HEAD", LISTED), ("POST", WEBHOOKS), ("GET", "/ops/v1/status")]:
        assert door.refusal(method, path, for_whom, waiting=waiting) is None, (method, path)


def test_requests_that_wait_for_a_thread_refuse_writes_only(edge):
    going_on(edge.door, waiting=edge.door.limits.requests)


class TestFullPool:
    @pytest.fixture
    def settings(self, settings):
        return replace(settings, api_pool_size=1, shed=Shed(pool_waiters=1))

    def test_requests_that_wait_for_a_connection_refuse_further_writes(self, app, api, edge):
        edge.database.open()
        with ThreadPoolExecutor(1) as pool:
            with edge.database.connection():
                waiting = pool.submit(lambda: app.test_client().get("/readyz").status_code)
                until(lambda: edge.database.waiting, "a waiter")
                answer = api.post(LISTED, CARD)
                assert_problem(answer, 503, "overloaded")
                assert answer.headers["Retry-After"] == "1"
                going_on(edge.door)
            assert waiting.result() == 200
        assert shed(app, "pool_waiters") >= 1
        assert api.post(LISTED, CARD).status_code == 201


class TestEmptyBucket:
    """The door's clock stands still, so that a slow machine does not let a token come in between."""

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch):
        clock = SimpleNamespace(now=time.monotonic())
        monkeypatch.setattr("app.gateway.door.time", SimpleNamespace(monotonic=lambda: clock.now))
        return clock

    @pytest.fixture
    def settings(self, settings):
        ample = Rate(10_000, 10_000)
        return replace(settings, rates=Rates(ample, Rate(1, 2), ample, ample))

    def test_the_database_is_not_asked_again_before_a_token_can_be_there(self, api, login, sql, clock):
        assert [api.post(LISTED, CARD).status_code for _ in range(3)] == [201, 201, 429]
        assert login().post(LISTED, CARD).status_code == 201
        sql.execute("alter function take_token rename to taken_away")
        first = api.post(LISTED, CARD)
        assert_problem(first, 429, "rate_limited")
        assert first.headers["RateLimit"].startswith('"key-write";r=0;')
        assert first.headers["Retry-After"] == "1"
        # a read has a bucket of its own, and the database is asked for it
        assert api.get(LISTED).status_code == 500
        sql.execute("alter function taken_away rename to take_token")
        assert api.post(LISTED, CARD).status_code == 429
        clock.now += 1_000
        until(lambda: api.post(LISTED, CARD).status_code == 201, "the next token")

    def test_another_key_or_another_address_is_another_caller(self, app, api, sql):
        assert [api.post(LISTED, CARD).status_code for _ in range(3)] == [201, 201, 429]
        sql.execute("alter function take_token rename to taken_away")
        elsewhere = {"environ_base": {"REMOTE_ADDR": "203.0.113.9"}, "headers": api_headers(api)}
        assert app.test_client().post(LISTED, json=CARD, **elsewhere).status_code == 500
        assert app.test_client().post(LISTED, json=CARD, headers=api_headers(api)).status_code == 429


def api_headers(api) -> dict[str, str]:
    return {"Authorization": f"Bearer {api.key.text()}", "Idempotency-Key": "another"}


def test_requests_that_wait_for_a_thread_refuse_further_writes_at_once(database, sql, tmp_path, headers):  # noqa: F811
    """Two threads and two waiting: the rest are answered while those four are stuck, over connections that go on."""
    env = {"WEB_CONCURRENCY": "1", "POSTBOX_WEB_THREADS": "2", "POSTBOX_SHED_REQUESTS": "2"}
    with serving(database, tmp_path, **env) as server:
        blocker = database.connect(admin=True, autocommit=False)
        blocker.execute("lock table procrastinate_jobs in share mode")

        def ask(number: int) -> tuple[int, dict[str, str], bytes, int]:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            named = headers | {"Idempotency-Key": f"k{number}", "X-Request-Id": f"r{number}"}
            connection.request("POST", LISTED, json.dumps(CARD), named)
            answer = connection.getresponse()
            got = answer.status, dict(answer.getheaders()), answer.read()
            if got[0] == 503:
                refused.release()
            connection.request("GET", "/healthz")
            after = connection.getresponse().status
            connection.close()
            return *got, after

        refused = threading.Semaphore(0)
        with ThreadPoolExecutor(12) as pool:
            # whom a thread has not taken yet counts as waiting, however free it is: both have one before others come
            asked = [pool.submit(ask, number) for number in range(2)]
            until_waiting(sql, 2)
            asked += [pool.submit(ask, number) for number in range(2, 12)]
            for _ in range(8):
                assert refused.acquire(timeout=20), "eight are refused while four are stuck"
            blocker.commit()
            answers = [one.result() for one in asked]
    assert sorted(status for status, *_ in answers) == [201] * 4 + [503] * 8
    for number, (status, sent, body, after) in enumerate(answers):
        assert after == 200
        if status == 503:
            problem = json.loads(body)
            assert (problem["code"], problem["instance"], problem["request_id"]) == ("overloaded", LISTED, f"r{number}")
            assert (sent["Retry-After"], sent["X-Request-Id"]) == ("1", f"r{number}")
            assert {name: sent.get(name) for name in ALWAYS} == ALWAYS
    assert sql.execute("select count(*) as n from payments").fetchone() == {"n": 4}


def test_a_thousand_refusals_in_one_piece_are_a_thousand_answers(database, sql, tmp_path, headers):  # noqa: F811
    """Pipelined by a client that does not wait: each is refused in its turn, and the process lives."""
    env = {"WEB_CONCURRENCY": "1", "POSTBOX_RATE_KEY_READ": "1/1"}
    ask = f"GET {LISTED} HTTP/1.1\r\nHost: x\r\nAuthorization: {headers['Authorization']}\r\n\r\n".encode()
    with serving(database, tmp_path, **env) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(ask * 1_000)
            received = b""
            while received.count(b"HTTP/1.1 ") < 1_000:
                received += client.recv(1 << 20)
        assert received.count(b"HTTP/1.1 429 ") > 900
        assert server.answers("/healthz")
        assert "given up" not in (tmp_path / "log").read_text()


def test_a_head_that_is_refused_has_no_content_that_the_next_answer_could_begin_with(database, tmp_path, headers):  # noqa: F811
    env = {"WEB_CONCURRENCY": "1", "POSTBOX_RATE_KEY_READ": "1/1"}
    ask = f"HEAD {LISTED} HTTP/1.1\r\nHost: x\r\nAuthorization: {headers['Authorization']}\r\n\r\n".encode()
    with serving(database, tmp_path, **env) as one, socket.create_connection(("127.0.0.1", one.port), 30) as client:
        client.sendall(ask * 20)
        client.shutdown(socket.SHUT_WR)
        received = client.makefile("rb").read()
    answers = received.removesuffix(b"\r\n\r\n").split(b"\r\n\r\n")
    assert [answer[:9] for answer in answers] == [b"HTTP/1.1 "] * 20
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 429 ")]
    assert len(refused) > 10 and not any(b"Content-Length: 0" in answer for answer in refused)


def test_the_door_and_the_application_refuse_in_the_same_words(app, edge, api, sql, monkeypatch):
    from app.gateway import raw

    monkeypatch.setattr(edge.door.age, "_seconds", 1_000.0)
    asked = api.post(LISTED, CARD, X_Request_Id="the-same")
    found = edge.door.refusal("POST", LISTED, lambda: caller("", "", ""))
    head, _, body = raw.refusal(app, found, "POST", LISTED, given_id="the-same", keep=True).partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    framing = {"Date", "Connection"}
    sent = {name: value for name, _, value in (text.partition(": ") for text in lines) if name not in framing}
    assert (line.lower(), json.loads(body)) == (f"http/1.1 {asked.status}".lower(), asked.get_json())
    # each of the two requests is a trace of its own
    assert sent | {"traceparent": asked.headers["traceparent"]} == dict(asked.headers)
    assert "traceparent" in sent


def test_every_limit_has_a_setting_of_its_own():
    env = {"POSTBOX_SHED_QUEUE_AGE": "1.5", "POSTBOX_SHED_POOL_WAITERS": "2", "POSTBOX_SHED_REQUESTS": "3"}
    assert load_settings({"DATABASE_URL": "x"} | env).shed == Shed(1.5, 2, 3)
    for name in env:
        with pytest.raises(SettingsError, match=name):
            load_settings({"DATABASE_URL": "x", name: "0"})


def test_the_age_is_read_in_one_step_per_lane_and_merchant(sql, api, edge):
    for _ in range(3):
        factories.payment(sql, "initiated")
    last = "(select event_id from deliveries order by merchant_id desc limit 1)"
    sql.execute(f"{AGED} where event_id = {last}")
    edge.door.age.poll_once()
    assert 3_600 <= edge.door.age.seconds() < 3_700
    # no more merchants are looked at than asked for
    assert sql.execute("select oldest_runnable(1) as s").fetchone()["s"] < 3_600


@pytest.mark.parametrize("kind", ["merchant", "handler", "provider"])
def test_what_is_paused_is_no_age_and_sheds_nobody(sql, kind):
    payment = factories.payment(sql, "initiated")
    sql.execute(AGED)
    age = "select oldest_runnable(10) as s"
    assert sql.execute(age).fetchone()["s"] > 3_600
    name = {"merchant": str(payment["merchant_id"]), "handler": "submit_payment", "provider": "stripe"}[kind]
    with factories.acting(sql, "operator", role="postbox_owner"):
        pauses.pause(Tx(sql), kind, name, by="ana", reason="test")
    assert sql.execute(age).fetchone()["s"] == 0
    other = factories.payment(sql, "submitted")
    sql.execute(f"{AGED} where lane = 'local' and merchant_id = '{other['merchant_id']}'")
    assert sql.execute(age).fetchone()["s"] > 3_600, "what is not paused is told of as before"
