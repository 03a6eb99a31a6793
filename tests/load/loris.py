"""A crowd of slow clients, one byte a second each, who come back whenever they are hung up on; and a healthy one."""

from __future__ import annotations

import http.client
import selectors
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

# A byte a second: what a slow-loris sends to look alive.
DRIP_SECONDS = 1.0
HEAD = b"POST /v1/payments HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Slow: "
BODY = (
    b"POST /v1/payments HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
)
CHUNKED = BODY.replace(b"Content-Length: 9999", b"Transfer-Encoding: chunked") + b"ffff\r\n"
# What each sends at once; then it drips. The last one says nothing at all.
KINDS = {"head": HEAD, "body": BODY, "chunked": CHUNKED, "silent": b""}


@dataclass
class Crowd:
    """`size` slow connections of every kind in turn, on one thread, for as long as the block runs."""

    port: int
    size: int
    kinds: tuple[str, ...] = tuple(KINDS)
    opened: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Crowd:
        self._poller = selectors.DefaultSelector()
        self._kind: dict[socket.socket, str] = {}
        for _ in range(self.size):
            self._open(self.kinds[self.opened % len(self.kinds)])
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        for client in self._kind:
            client.close()
        self._poller.close()

    @property
    def connected(self) -> int:
        return len(self._kind)

    def _open(self, kind: str) -> None:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        client.setblocking(False)
        client.send(KINDS[kind])
        self.opened += 1
        self._kind[client] = kind
        self._poller.register(client, selectors.EVENT_READ)

    def _run(self) -> None:
        next_drip = time.monotonic()
        while not self._stopping.is_set():
            if time.monotonic() >= next_drip:
                next_drip += DRIP_SECONDS
                self._drip()
            for key, _ in self._poller.select(0.05):
                self._on_readable(key.fileobj)  # type: ignore[arg-type]

    def _drip(self) -> None:
        for client, kind in list(self._kind.items()):
            if kind != "silent":
                try:
                    client.send(b"a")
                except OSError:
                    self._replace(client)

    def _on_readable(self, client: socket.socket) -> None:
        """An answer is noted by its status; a connection that was ended is opened anew."""
        try:
            received = client.recv(65_536)
        except OSError:
            received = b""
        if received.startswith(b"HTTP/1.1 "):
            self.seen[f"{self._kind[client]} {received[9:12].decode()}"] += 1
        elif not received:
            self._replace(client)

    def _replace(self, client: socket.socket) -> None:
        kind = self._kind.pop(client)
        self._poller.unregister(client)
        client.close()
        self._open(kind)


class Readers:
    """`size` clients who ask for the largest file there is and hardly read the answer."""

    PATH = "/docs/assets/swagger-ui-bundle.js"

    def __init__(self, port: int, size: int) -> None:
        self.clients = [self._ask(port) for _ in range(size)]

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()

    def drip(self) -> None:
        """Take one byte each."""
        for client in self.clients:
            client.recv(1)
        time.sleep(DRIP_SECONDS / 10)

    def let_go(self) -> int:
        """How many of them were hung up on before their answer ended."""
        return sum(self._is_reset(client) for client in self.clients)

    def _is_reset(self, client: socket.socket) -> bool:
        try:
            while client.recv(65_536):
                pass
        except ConnectionResetError:
            return True
        return False

    def _ask(self, port: int) -> socket.socket:
        client = socket.socket()
        client.settimeout(20)
        # little room for what is not read, so that the server keeps it
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", port))
        client.sendall(f"GET {self.PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        return client


def healthy(port: int, key: str, *, seconds: float, every: float = 0.1) -> list[tuple[float, int]]:
    """A client that asks for its payments every so often, each time on a new connection: (seconds, status) of each."""
    answers = []
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/v1/payments", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        answers.append((time.monotonic() - began, answer.status))
        time.sleep(max(0.0, began + every - time.monotonic()))
    return answers
