"""Owns sockets: HTTP/1.1 with kept connections, and the ways a connection can go wrong; it serves nothing itself."""

import socket
import socketserver
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable

from cli.sandbox.exchange import Reply, Request

MAX_BODY = 1 << 20
MAX_LINE = 16_384
MAX_HEADERS = 100
REASONS = {200: "OK", 303: "See Other", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required",
           404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 411: "Length Required",
           413: "Content Too Large", 429: "Too Many Requests", 500: "Internal Server Error"}  # fmt: skip
Answer = Callable[[Request], Reply]


class _Refused(Exception):
    """A request that is no HTTP, or too large: answered with a status, then closed."""


class Server(socketserver.ThreadingTCPServer):
    """One thread per connection; OSError when the address is taken."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, host: str, port: int, answer: Answer) -> None:
        self.answer = answer
        self.stopping = threading.Event()
        super().__init__((host, port), _Connection)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc(file=sys.stderr)


class _Connection(socketserver.StreamRequestHandler):
    server: Server
    rbufsize = 65_536
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            while not self.server.stopping.is_set():
                request = self._read()
                if request is None or not self._respond(request):
                    return
        except _Refused as refusal:
            status = int(str(refusal))
            self._send(Reply(status, REASONS[status], kind="text/plain"), close=True)

    def _read(self) -> Request | None:
        line = self.rfile.readline(MAX_LINE + 1)
        if not line.strip():
            return None
        parts = line.decode("latin-1").split()
        if len(line) > MAX_LINE or len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise _Refused(400)
        headers: dict[str, str] = {}
        while True:
            line = self.rfile.readline(MAX_LINE + 1)
            if len(line) > MAX_LINE or len(headers) > MAX_HEADERS:
                raise _Refused(400)
            if line in (b"\r\n", b"\n"):
                break
            if not line:
                return None
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if "transfer-encoding" in headers:
            raise _Refused(411)
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise _Refused(400)
        if int(length) > MAX_BODY:
            raise _Refused(413)
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(int(length)) if length != "0" else b""
        if len(body) != int(length):
            return None
        return Request(parts[0].upper(), parts[1], headers, body)

    def _respond(self, request: Request) -> bool:
        """Answer as the reply says; whether the connection can take another request."""
        reply = self.server.answer(request)
        close = request.headers.get("connection", "").lower() == "close"
        if reply.fault in ("timeout_before", "timeout_after"):
            self._hold(reply.seconds)
            return False
        if reply.fault == "reset_before":
            self._reset()
            return False
        if reply.fault == "reset_mid_body":
            data = _encode(reply, close)
            self.connection.sendall(data[: len(data) - max(1, len(reply.body.encode()) // 2)])
            # The half has to arrive before the reset overtakes it.
            time.sleep(0.01)
            self._reset()
            return False
        if reply.fault == "slow":
            self._hold(reply.seconds)
        self._send(reply, close)
        return not close

    def _send(self, reply: Reply, close: bool) -> None:
        self.connection.sendall(_encode(reply, close))

    def _hold(self, seconds: float) -> None:
        self.server.stopping.wait(seconds)

    def _reset(self) -> None:
        """Close with a TCP reset: linger for zero seconds."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            return


def _encode(reply: Reply, close: bool) -> bytes:
    body = reply.body.encode()
    lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Answer')}", f"Content-Type: {reply.kind}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body
