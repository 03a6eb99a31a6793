"""Keep-alive clients that cost as little as they can: they share the cores with what they measure."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """One answered request: when it was sent (seconds since the epoch), how long it took, what came.

    `late`: how many seconds before it was sent its time had come, at a rate. Whoever came then waited for both.
    """

    sent_at: float
    seconds: float
    status: int
    body: bytes
    head: bytes = b""
    late: float = 0.0

    @property
    def due_at(self) -> float:
        return self.sent_at - self.late

    @property
    def waited(self) -> float:
        return self.late + self.seconds


class Client:
    """One connection to 127.0.0.1; requests are made beforehand, answers are read by their Content-Length."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes, due: float | None = None) -> Answer:
        """The answer to a request whose time came at `due`, by the performance counter, or comes now."""
        sent_at, began = time.time(), time.perf_counter()
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._read()
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self._read()
        late = 0.0 if due is None else began - due
        return Answer(sent_at, time.perf_counter() - began, int(head[9:12]), body, head, late)

    def _read(self) -> bytes:
        chunk = self._socket.recv(65_536)
        assert chunk, "the server closed a connection that is kept alive"
        return chunk

    def close(self) -> None:
        self._socket.close()


def post(path: str, body: Any, **headers: str) -> bytes:
    """The bytes of one POST."""
    content = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def drive(
    port: int,
    request: Callable[[int], bytes],
    *,
    count: int,
    clients: int,
    rate: float | None = None,
    expect: tuple[int, ...] = (201,),
) -> list[Answer]:
    """Send `count` requests over `clients` connections, as fast as they are answered or at `rate` per second.

    A client whose answer stays out sends its next request late, which its answer tells.
    """
    numbers, answers, errors = itertools.count(), [], []
    requests = [request(number) for number in range(count)]
    began = time.perf_counter()

    def run() -> None:
        client = Client(port)
        try:
            while (number := next(numbers)) < count:
                due = began + number / rate if rate else None
                if due is not None:
                    time.sleep(max(0.0, due - time.perf_counter()))
                answers.append(client.send(requests[number], due))
        except Exception as error:
            errors.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    refused = [answer for answer in answers if answer.status not in expect]
    assert not refused, f"{len(refused)} were not accepted, the first: {refused[0]}"
    return answers
