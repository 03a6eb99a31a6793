"""The gateway as it is deployed: gunicorn with our configuration, over a socket."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
import requests

from app.config import ROOT
from tests import factories
from tests.fixtures.cluster import UNSAFE
from tests.fixtures.database import KEY_PEPPER, WEBHOOK_SECRET
from tests.gateway.conftest import CARD
from tests.gateway.test_webhooks import EVENT, PATH, signed
from tests.gateway.waiting import until, until_waiting


@dataclass
class Server:
    """A running gunicorn and where it answers."""

    process: subprocess.Popen[bytes]
    port: int
    home: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self, path: str) -> bool:
        with suppress(requests.RequestException):
            return requests.get(self.url + path, timeout=5).ok
        return False

    def post_chunked(self, path: str, chunks: list[bytes], headers: dict[str, str]) -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", path, iter(chunks), headers, encode_chunked=True)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


@contextmanager
def serving(database, tmp_path: Path, *, log: IO[bytes] | None = None, **settings: str) -> Iterator[Server]:
    """gunicorn on a free port, two processes unless `settings` say otherwise; ended with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | UNSAFE | {
        "DATABASE_URL": database.url, "POSTBOX_KEY_PEPPER": KEY_PEPPER, "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "PORT": str(port), "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}", "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path), "WEB_CONCURRENCY": "2", "POSTBOX_WEB_THREADS": "4",
    } | {name: value.replace("{port}", str(port)) for name, value in settings.items()}  # fmt: skip
    env.pop("PROMETHEUS_MULTIPROC_DIR", None)
    command = [sys.executable, "-m", "gunicorn", "app.gateway:create_app()", "--config", "app/gateway/gunicorn_conf.py"]
    with (tmp_path / "log").open("wb") as own:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log or own, stderr=log or own)
    server = Server(process, port, tmp_path)
    try:
        until(lambda: process.poll() is not None or server.answers("/healthz"), "gunicorn")
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def server(database, tmp_path: Path) -> Iterator[Server]:
    with serving(database, tmp_path) as server:
        yield server


@pytest.fixture
def headers(sql) -> dict[str, str]:
    key = factories.api_key(sql, factories.merchant(sql)["id"])
    return {"Authorization": f"Bearer {key.text()}", "Idempotency-Key": "k", "Content-Type": "application/json"}


def test_a_chunked_body_is_read_within_the_same_limits(server, headers, sql):
    raw = json.dumps(EVENT).encode()
    halves = [raw[:20], raw[20:]]
    assert server.post_chunked(PATH, halves, signed(raw)) == (200, {"received": True})
    assert server.post_chunked("/v1/payments", [json.dumps(CARD).encode()], headers)[0] == 201
    for path, limit in ((PATH, 256 * 1024), ("/v1/payments", 64 * 1024)):
        status, problem = server.post_chunked(path, [b" " * 1024] * (limit // 1024 + 1), headers)
        assert (status, problem["code"]) == (413, "body_too_large")


def test_the_metrics_of_all_workers_are_one(server, headers):
    def ask(_: int) -> int:
        return requests.get(f"{server.url}/v1/payments", headers=headers, timeout=10).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(40))) == {200}
    pattern = r'postbox_http_requests_total\{method="GET",route="/v1/payments",status="200"\} (\S+)'
    counts = {float(re.search(pattern, requests.get(f"{server.url}/metrics", timeout=60).text)[1]) for _ in range(6)}
    assert counts == {40.0}


def test_a_killed_worker_leaves_no_half_payment_and_no_silence(server, headers, sql, database):
    blocker = database.connect(admin=True, autocommit=False)
    blocker.execute("lock table procrastinate_jobs in share mode")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(requests.post, f"{server.url}/v1/payments", json=CARD, headers=headers, timeout=20)
        until_waiting(sql, 1)  # payment, audit and event are written, the job is not, nothing is committed
        killed = server.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(requests.ConnectionError):
            sent.result()
    blocker.commit()
    open_transactions = "select from pg_stat_activity where datname = current_database() and backend_xid is not null"
    until(lambda: not sql.execute(open_transactions).fetchall(), "the orphaned transaction to end")
    counts = """
        select (select count(*) from payments) + (select count(*) from events) + (select count(*) from audit_log)
             + (select count(*) from procrastinate_jobs) + (select count(*) from idempotency_keys) as n
    """
    before = "select count(*) as n from audit_log where payment_id is null"
    assert sql.execute(counts).fetchone()["n"] == sql.execute(before).fetchone()["n"]
    until(lambda: server.answers("/healthz"), "a new worker")
    answer = requests.post(f"{server.url}/v1/payments", json=CARD, headers=headers, timeout=10)
    assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (201, None)
    assert not set(server.workers()) & set(killed)


def test_sigterm_answers_what_is_running_and_leaves_nothing_behind(server, headers, sql, database):
    blocker = database.connect(admin=True, autocommit=False)
    blocker.execute("lock table procrastinate_jobs in share mode")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(requests.post, f"{server.url}/v1/payments", json=CARD, headers=headers, timeout=20)
        until_waiting(sql, 1)
        server.process.terminate()
        until(lambda: b"Handling signal: term" in (server.home / "log").read_bytes(), "the signal to arrive")
        blocker.commit()
        assert sent.result().status_code == 201
    assert server.process.wait(timeout=25) == 0
    assert sorted(path.name for path in server.home.iterdir()) == ["log"]


def test_a_log_that_cannot_be_written_changes_no_answer_and_ends_no_process(database, tmp_path, headers, sql):
    raw = json.dumps(EVENT).encode()
    with open("/dev/full", "wb") as full, serving(database, tmp_path, log=full, WEB_CONCURRENCY="1") as mute:
        [worker] = mute.workers()
        told = [requests.post(f"{mute.url}/v1/payments", json=CARD, headers=headers, timeout=10)]
        # without the framework, with it, and with it because the signature is not ours
        for way in (signed(raw), signed(raw) | {"TE": "trailers"}, signed(raw, secret="whsec_other")):
            told.append(requests.post(mute.url + PATH, raw, headers=way, timeout=10))
        told.append(requests.post(mute.url + PATH, b" " * 300_000, timeout=10))
        assert [answer.status_code for answer in told] == [201, 200, 200, 400, 413]
        assert sql.execute("select count from webhook_rejections").fetchall() == [{"count": 1}]
        assert mute.workers() == [worker]
