"""One process of an open-loop generator: requests leave when their time has come, however long answers take.

Reads a plan from stdin and writes one line per request to stdout; `python -m tests.load.client`.
"""

from __future__ import annotations

import heapq
import json
import random
import selectors
import socket
import sys
import time
import uuid
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench.http import post

# Connections of one process; a request that finds none free waits, and its wait is part of its time.
CONNECTIONS = 256
# The server ends a connection that is idle for 15 s; a client that means to use one again does not wait so long.
IDLE_SECONDS = 5.0
# After the last arrival answers are waited for so long.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Source:
    """Requests of one merchant, at a mean rate per second each: Poisson arrivals, fixed by the plan's seed."""

    name: str
    key: str
    reads: float = 0.0
    writes: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What one process sends, from `begin` (seconds since the epoch) on for `seconds`."""

    port: int
    begin: float
    seconds: float
    seed: int
    sources: list[Source]

    def arrivals(self) -> list[tuple[float, str, str, str]]:
        """(seconds after the beginning, source, kind, key), in order."""
        streams = [
            self._stream(source, kind, rate)
            for source in self.sources
            for kind, rate in (("read", source.reads), ("write", source.writes))
            if rate
        ]
        return list(heapq.merge(*streams))

    def _stream(self, source: Source, kind: str, rate: float) -> list[tuple[float, str, str, str]]:
        chance = random.Random(f"{self.seed} {source.name} {kind}")
        at, found = chance.expovariate(rate), []
        while at < self.seconds:
            found.append((at, source.name, kind, source.key))
            at += chance.expovariate(rate)
        return found


@dataclass
class Result:
    """What became of one request: seconds from the moment it was due, and the answer's essentials."""

    source: str
    kind: str
    due: float
    seconds: float = 0.0
    status: int = 0
    retry_after: str | None = None
    payment: str | None = None


@dataclass
class Connection:
    """A keep-alive connection and the request that is on it."""

    socket: socket.socket
    result: Result | None = None
    received: bytearray = field(default_factory=bytearray)
    idle_since: float = 0.0


class Generator:
    """One loop over many connections; nothing waits for an answer but the connection it comes on."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.results: list[Result] = []
        self._poller = selectors.DefaultSelector()
        self._idle: list[Connection] = []
        self._open = 0
        self._late: deque[tuple[Result, bytes]] = deque()

    def run(self) -> list[Result]:
        arrivals = self.plan.arrivals()
        requests = [self._request(kind, key) for _, _, kind, key in arrivals]
        due = iter(zip(arrivals, requests, strict=True))
        following = next(due, None)
        end = self.plan.begin + self.plan.seconds + PATIENCE_SECONDS
        while (following or self._busy) and time.time() < end:
            now = time.time()
            while following and self.plan.begin + following[0][0] <= now:
                (at, source, kind, _), request = following
                result = Result(source, kind, at)
                self.results.append(result)
                self._send(result, request)
                following = next(due, None)
            wait = self.plan.begin + following[0][0] - time.time() if following else 0.1
            for key, _ in self._poller.select(max(0.0, min(wait, 0.1))):
                self._receive(key.data)
        return self.results

    @property
    def _busy(self) -> bool:
        return bool(self._late) or self._open > len(self._idle)

    def _request(self, kind: str, key: str) -> bytes:
        if kind == "read":
            return f"GET /v1/payments?limit=10 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
        body = {"amount": 1_000, "currency": "usd", "method": {"type": "card", "token": "pm_card_visa"}}
        body |= {"return_url": "https://shop.example/back"}
        return post("/v1/payments", body, Authorization=f"Bearer {key}", Idempotency_Key=str(uuid.uuid4()))

    def _send(self, result: Result, request: bytes) -> None:
        while self._idle and self._idle[0].idle_since < time.monotonic() - IDLE_SECONDS:
            self._close(self._idle[0])
        if not self._idle and self._open < CONNECTIONS:
            self._connect()
        if not self._idle:
            self._late.append((result, request))
            return
        connection = self._idle.pop()
        connection.result = result
        connection.socket.sendall(request)

    def _connect(self) -> None:
        opened = socket.create_connection(("127.0.0.1", self.plan.port), timeout=PATIENCE_SECONDS)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(opened, idle_since=time.monotonic())
        self._open += 1
        self._idle.append(connection)
        self._poller.register(opened, selectors.EVENT_READ, connection)

    def _receive(self, connection: Connection) -> None:
        try:
            received = connection.socket.recv(65_536)
        except ConnectionResetError:
            received = b""
        if not received:
            self._close(connection)
            return  # a request on it stays at status 0: nobody answered
        connection.received += received
        self._answered(connection)

    def _close(self, connection: Connection) -> None:
        self._poller.unregister(connection.socket)
        connection.socket.close()
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def _answered(self, connection: Connection) -> None:
        head, found, body = bytes(connection.received).partition(b"\r\n\r\n")
        if not found or len(body) < int(_header(head, b"Content-Length")):
            return
        result = connection.result
        assert result is not None, "an answer belongs to a request"
        result.status = int(head[9:12])
        result.seconds = time.time() - self.plan.begin - result.due
        result.retry_after = _header(head, b"Retry-After").decode() or None
        if result.status == 201:
            result.payment = json.loads(body)["id"]
        connection.result = None
        connection.received.clear()
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._late:
            self._send(*self._late.popleft())


def _header(head: bytes, name: bytes) -> bytes:
    """The value of one header, empty without it; reading all of them costs what it shares with the server."""
    return head.partition(b"\r\n" + name + b": ")[2].partition(b"\r\n")[0]


def parts(plan: Plan, processes: int) -> list[Plan]:
    """The same arrivals in sum, in so many plans."""
    share = [
        Source(source.name, source.key, source.reads / processes, source.writes / processes) for source in plan.sources
    ]
    return [
        Plan(plan.port, plan.begin, plan.seconds, plan.seed * processes + number, share) for number in range(processes)
    ]


def load(text: str) -> Plan:
    told: dict[str, Any] = json.loads(text)
    return Plan(**{**told, "sources": [Source(**source) for source in told["sources"]]})


if __name__ == "__main__":
    for each in Generator(load(sys.stdin.read())).run():
        sys.stdout.write(json.dumps(asdict(each)) + "\n")
