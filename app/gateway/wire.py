"""What is ours in gunicorn's reading and writing of HTTP: a request that is here, an answer that names no server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache

from gunicorn.http import wsgi
from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import Unreader

from app.gateway import security_headers

# What the parser gets at once: it copies all that it has for each chunk of a body.
PIECE_BYTES = 8 * 1024


class Received(Unreader):  # type: ignore[misc]
    """One request as the loop saw it end, and then nothing: whatever the parser believes, no thread waits for a client.

    What the client has sent after it is no business of the parser's, which may believe that the request ends elsewhere.
    """

    def __init__(self, request: bytes) -> None:
        super().__init__()
        self._left = memoryview(request)

    def chunk(self, size_hint: int | None = None) -> bytes:
        if not self._left:
            raise NoMoreData
        piece = bytes(self._left[:PIECE_BYTES])
        # an empty view of it would hold on to all of the request, for as long as its connection is kept
        self._left = self._left[PIECE_BYTES:] or memoryview(b"")
        return piece

    def is_used_up(self) -> bool:
        """Whether the parser has read all of the request."""
        return not self._left and not self.buf.getbuffer().nbytes


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
        """Not by gunicorn, which writes the date anew for each answer."""
        major, minor = self.req.version
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Date: {_date(int(time.time()))}\r\n",
            f"Connection: {'close' if self.should_close() else 'keep-alive'}\r\n",
        ]
        return [*lines, "Transfer-Encoding: chunked\r\n"] if self.chunked else lines


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
