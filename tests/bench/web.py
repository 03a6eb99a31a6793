"""Brings up the gateway as the Procfile says, with a merchant and a key, and makes the requests it is sent."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from app.config import ROOT
from app.model.api_key import ApiKey
from cli.dev.postgres_home import PORTS
from cli.dev.postgres_process import is_free
from cli.dev.processes import read_procfile
from tests import factories
from tests.bench.arena import Arena, until
from tests.bench.cpu import named
from tests.bench.http import post
from tests.bench.memory import children_of
from tests.fixtures.database import KEY_PEPPER, Clone

READY_SECONDS = 60


@dataclass(frozen=True)
class Web:
    port: int
    key: ApiKey
    request: Callable[[int], bytes]
    process: int

    def processes(self) -> dict[str, int]:
        """gunicorn and its workers."""
        return {"gunicorn": self.process, **named("web", children_of(self.process))}


@contextmanager
def serving(
    arena: Arena, database: Clone, port: int, *, name: str = "web", program: Sequence[str] = (), **env: str
) -> Iterator[Web]:
    """gunicorn on `port`, ready, and a key of a merchant of its own; `program` is what it serves in place of ours."""
    conn = database.connect(admin=True)
    key = factories.api_key(conn, factories.merchant(conn)["id"], pepper=KEY_PEPPER)
    argv = program or read_procfile(ROOT / "Procfile")["web"][1:]
    bound = {"PORT": str(port), "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}"}
    # What one merchant may ask for is a setting, and not what is measured here.
    unlimited = {f"POSTBOX_RATE_{scope}_WRITE": "1000000/1000000" for scope in ("KEY", "MERCHANT")}
    environment = arena.environment(database, **bound, **unlimited, **env)
    with arena.running(name, "-m", "gunicorn", *argv, env=environment) as process:
        until(lambda: _is_ready(port), f"the gateway:\n{arena.log(name)}", seconds=READY_SECONDS)
        yield Web(port, key, lambda number: _payment(key.text(), number), process.pid)


def free_port() -> int:
    return next(port for port in random.sample(PORTS, 200) if is_free(port))


def _payment(key: str, number: int) -> bytes:
    idempotency_key = str(uuid.uuid4())
    body = {
        "amount": 1_000 + number % 500, "currency": "usd", "method": {"type": "card", "token": "pm_card_visa"},
        "return_url": "https://shop.example/back", "reference": f"order {idempotency_key}", "description": "Two chairs",
        "metadata": {"basket": str(number)},
    }  # fmt: skip
    return post("/v1/payments", body, Authorization=f"Bearer {key}", Idempotency_Key=idempotency_key)


def _is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).ok
    except requests.RequestException:
        return False
