"""Owns one HTTP POST of an event over a connection that is kept open; it knows no events."""

import socket
import ssl
from urllib.parse import urlsplit

from cli.sandbox.clock import Timing

MAX_HEAD = 65_536
MAX_ANSWER = 1 << 20
# However fast time runs: a receiver on a busy machine needs this long.
LEAST_SECONDS = 0.5


class Sender:
    """Connections of one thread, one per endpoint; it waits as long as `timing` says when it connects."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._open: dict[str, socket.socket] = {}

    def post(self, url: str, body: bytes, signature: str) -> int | None:
        """The status of the answer, or None when there was none. A kept connection found dead is opened again."""
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: Stripe/1.0 (Postbox sandbox)\r\n"
            f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
            f"Accept: */*\r\nStripe-Signature: {signature}\r\n\r\n"
        )
        message = head.encode() + body
        kept = url in self._open
        status = self._exchange(url, parts.scheme, parts.hostname or "", parts.port, message)
        if status is None and kept:
            status = self._exchange(url, parts.scheme, parts.hostname or "", parts.port, message)
        return status

    def _exchange(self, url: str, scheme: str, host: str, port: int | None, message: bytes) -> int | None:
        try:
            connection = self._open.pop(url, None) or self._connect(scheme, host, port)
        except OSError:
            return None
        try:
            connection.sendall(message)
            status, keep = _read_answer(connection)
        except (OSError, ValueError):
            connection.close()
            return None
        if keep:
            self._open[url] = connection
        else:
            connection.close()
        return status

    def _connect(self, scheme: str, host: str, port: int | None) -> socket.socket:
        patience = max(self._timing.webhook_timeout, LEAST_SECONDS)
        connection = socket.create_connection((host, port or (443 if scheme == "https" else 80)), patience)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme == "https":
            return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
        return connection


def _read_answer(connection: socket.socket) -> tuple[int, bool]:
    """Read one answer; its status, and whether the connection can be used again."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more or len(data) > MAX_HEAD:
            raise ValueError("no answer")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    status = int(lines[0].split(b" ", 2)[1])
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip().lower()
    if b"content-length" not in headers:
        # A chunked or unbounded answer is not read: only the status counts.
        return status, status == 204
    left = int(headers[b"content-length"]) - len(rest)
    if left > MAX_ANSWER:
        return status, False
    while left > 0:
        more = connection.recv(min(left, 65_536))
        if not more:
            return status, False
        left -= len(more)
    return status, headers.get(b"connection") != b"close" and not lines[0].startswith(b"HTTP/1.0")
