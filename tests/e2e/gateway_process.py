"""The gateway as gunicorn serves it, on a port of its own, and a client that speaks for one merchant."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import requests

from app.config import ROOT
from tests import factories
from tests.jobs.processes import World, until


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class GatewayProcess:
    """A running gateway and one merchant's key for it."""

    url: str
    process: subprocess.Popen[bytes]
    merchant_id: UUID
    key: str = field(repr=False)
    _sessions: threading.local = field(default_factory=threading.local)

    def post(self, path: str, body: dict[str, Any], *, key: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key}
        return self._session().post(f"{self.url}{path}", json=body, headers=headers, timeout=30)

    def post_until_taken(self, path: str, body: dict[str, Any], *, key: str, stop: threading.Event) -> Any:
        """As a good client does: the same key again while there is no answer or a 5xx; None when told to stop."""
        while not stop.is_set():
            try:
                answer = self.post(path, body, key=key)
            except requests.RequestException:
                continue
            if answer.status_code < 500 and answer.status_code != 409:
                assert answer.ok, answer.text
                return answer.json()
        return None

    def ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False

    def _session(self) -> requests.Session:
        if not hasattr(self._sessions, "session"):
            self._sessions.session = requests.Session()
            self._sessions.session.trust_env = False
        return self._sessions.session  # type: ignore[no-any-return]


def start_gateway(world: World) -> GatewayProcess:
    """Start gunicorn as the Procfile does, and have the sandbox send its webhooks there; killed with the world."""
    port = free_port()
    process = world.start(
        "-m",
        "gunicorn",
        "app.gateway:create_app()",
        "--config",
        str(ROOT / "app/gateway/gunicorn_conf.py"),
        PORT=str(port),
        WEB_CONCURRENCY="1",
        GUNICORN_CMD_ARGS=f"--bind 127.0.0.1:{port}",
        PATH=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    )
    merchant = factories.merchant(world.connection)
    key = factories.api_key(world.connection, merchant["id"])
    gateway = GatewayProcess(f"http://127.0.0.1:{port}", process, merchant["id"], key.text())
    until(gateway.ready, world.tail, seconds=60)
    world.sandbox.send_webhooks_to(f"{gateway.url}/webhooks/stripe/default")
    return gateway
