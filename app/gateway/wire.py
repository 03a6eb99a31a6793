"""What is ours in gunicorn's reading and writing of HTTP: a request that is here, an answer that names no server."""

from __future__ import annotations

from collections.abc import Sequence

from gunicorn.http import wsgi
from gunicorn.http.unreader import Unreader

from app.gateway import security_headers


class Received(Unreader):  # type: ignore[misc]
    """What was received of a request, and then its end: whatever the parser believes, no thread waits for a client."""

    def __init__(self, received: bytes) -> None:
        super().__init__()
        self.buf.write(received)

    def chunk(self, size_hint: int | None = None) -> bytes:
        return b""


# What most answers have in common, and is no news to whoever looks for what must not stand in a header.
ALWAYS_GOOD = frozenset(
    {
        *security_headers.ALWAYS.items(),
        ("Content-Security-Policy", security_headers.DATA_POLICY),
        ("Content-Type", "application/json"),
    }
)


class Nameless(wsgi.Response):  # type: ignore[misc]
    """An answer that does not say which server gave it."""

    def process_headers(self, headers: Sequence[tuple[str, str]]) -> None:
        super().process_headers([pair for pair in headers if pair not in ALWAYS_GOOD])
        self.headers += [pair for pair in headers if pair in ALWAYS_GOOD]

    def default_headers(self) -> list[str]:
        return [line for line in super().default_headers() if not line.startswith("Server:")]
