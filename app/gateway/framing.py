"""Tells when the bytes of a request are all there, and judges nothing: what it says is for the parser to refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# Our longest honest head: a request line, a key, an Idempotency-Key and a tracing header or ten; proxies add a few.
MAX_HEAD_BYTES = 32 * 1024
# The parser refuses more than 64 (gunicorn_conf.py). Each takes far more than its bytes while a body is waited for.
MOST_FIELDS = 100
# A webhook, the largest body we take (app.gateway.webhooks), and the frames of a chunked one.
MAX_BODY_BYTES = 256 * 1024
MAX_FRAMED_BYTES = MAX_BODY_BYTES + 32 * 1024
# Chunks of a body: the largest we take in pieces of 256 bytes. Each costs the parser far more than its bytes.
MOST_CHUNKS = 1024
# A chunk's size and extensions, of which nobody needs any.
MAX_CHUNK_LINE_BYTES = 1024

END_OF_HEAD = b"\r\n\r\n"

# A head that everybody reads alike (RFC 9112, 3 and 5): its line, and one line for each field, which has a name and no
# space before its colon. No line goes on in the next, and none holds a CR, an LF or a NUL of its own.
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CLEAR_HEAD = re.compile(_TOKEN + rb" [!-~]+ HTTP/1\.1(?:\r\n" + _TOKEN + rb":[\t -~\x80-\xff]*)*")
# A chunk's size (RFC 9112, 7.1), and what may come with it.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;.*)?")
# They say where a body ends: several of one name are one list (RFC 9110, 5.3), which neither may be.
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class HeadTooLarge(Exception):
    """The head goes on beyond MAX_HEAD_BYTES, or has more fields than MOST_FIELDS."""


class BodyTooLarge(Exception):
    """The body is, or says it is, larger than anything we take, or comes in more chunks."""


class NoRoom(Exception):
    """More is coming in, from all clients together, than this process holds."""


class OtherCoding(Exception):
    """The body comes in another transfer coding than chunks alone."""


@dataclass
class Incoming:
    """The bytes of one request as they come in.

    Of its head no more is kept beside them than where the request ends, until it does: the fields by themselves take
    several times their bytes, and a body may be long in coming.
    """

    buffer: bytearray = field(default_factory=bytearray)
    # of the whole request, once it is whole; what follows in the buffer belongs to the next one
    size: int = 0
    # the client waits for a word before it sends its body
    wants_continue: bool = False
    _headers: dict[bytes, bytes] | None = None
    _head_bytes: int = 0
    _body_bytes: int = 0
    _is_chunked: bool = False
    _looked: int = 0
    _chunk_at: int = 0
    _chunks: int = 0

    def is_whole(self) -> bool:
        """Whether the first request in the buffer has ended. Raises HeadTooLarge, BodyTooLarge, OtherCoding."""
        if not self.has_head and not self._read_head():
            return False
        if self._is_chunked:
            is_whole = self._chunks_ended()
        else:
            self.size = self._head_bytes + self._body_bytes
            is_whole = len(self.buffer) >= self.size
        if not is_whole:
            self._headers = None
        return is_whole

    @property
    def has_head(self) -> bool:
        """All of it is there, and not too large."""
        return self._head_bytes > 0

    @property
    def head(self) -> bytes:
        """Without the line ends after it; empty until it is there."""
        return bytes(self.buffer[: max(0, self._head_bytes - len(END_OF_HEAD))])

    @property
    def line(self) -> bytes:
        """The first one, or as much of it as is there and may be."""
        end = self.buffer.find(b"\r\n", 0, MAX_HEAD_BYTES)
        return bytes(self.buffer[: end if end >= 0 else MAX_HEAD_BYTES])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """By their names in small letters; none until all are there."""
        if self._headers is None:
            self._headers = {}
            for line in self.head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                name, value = name.strip().lower(), value.strip()
                if name in _FRAMING and name in self._headers:
                    value = self._headers[name] + b", " + value
                self._headers[name] = value
        return self._headers

    @property
    def target(self) -> tuple[str, str]:
        """The method and the path, as they were sent."""
        method, _, rest = self.line.decode("latin-1").partition(" ")
        return method, rest.partition(" ")[0].partition("?")[0]

    @property
    def goes_on(self) -> bool:
        """The client may send another request on this connection, though no parser has read this one.

        So only where nobody could see it end elsewhere: its head is clear, and its body has one plain length, or none.
        """
        return (
            self.headers.get(b"connection", b"").lower() != b"close"
            and b"transfer-encoding" not in self.headers
            and self.headers.get(b"content-length", b"0").isdigit()
            and _CLEAR_HEAD.fullmatch(self.head) is not None
        )

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    def _read_head(self) -> bool:
        end = self.buffer.find(END_OF_HEAD, max(0, self._looked - len(END_OF_HEAD)))
        self._looked = len(self.buffer)
        if (end if end >= 0 else len(self.buffer)) > MAX_HEAD_BYTES:
            raise HeadTooLarge
        if end < 0:
            return False
        if self.buffer.count(b"\r\n", 0, end) > MOST_FIELDS:
            raise HeadTooLarge
        self._head_bytes = self._chunk_at = end + len(END_OF_HEAD)
        self._headers = None
        self.wants_continue = self.headers.get(b"expect", b"").lower() == b"100-continue"
        coding = self.headers.get(b"transfer-encoding")
        if coding is None:
            self._body_bytes = self._length()
        elif coding.lower() == b"chunked":
            self._is_chunked = True
        else:
            raise OtherCoding
        return True

    def _length(self) -> int:
        """Of the body (RFC 9110, 8.6); what is no number is refused by the parser, which needs no body for that."""
        told = self.headers.get(b"content-length", b"0")
        if not told.isdigit():
            return 0
        digits = told.lstrip(b"0") or b"0"  # any number of zeros may come first
        # more digits are more bytes; Python would not make a number of thousands of them
        if len(digits) > len(str(MAX_BODY_BYTES)) or int(digits) > MAX_BODY_BYTES:
            raise BodyTooLarge
        return int(digits)

    def _chunks_ended(self) -> bool:
        """Walk over chunks (RFC 9112, 7.1) as far as they are there; what is malformed needs no more bytes."""
        while True:
            end = self.buffer.find(b"\r\n", self._chunk_at)
            if len(self.buffer) - self._head_bytes > MAX_FRAMED_BYTES:
                raise BodyTooLarge
            if (end if end >= 0 else len(self.buffer)) - self._chunk_at > MAX_CHUNK_LINE_BYTES:
                raise BodyTooLarge
            if end < 0:
                return False
            told = _CHUNK_LINE.fullmatch(self.buffer, self._chunk_at, end)
            if told is None:
                return self._is_malformed()
            size = int(told[1], 16)
            if size == 0:
                # the last one: trailers, if any, and an empty line
                self.size = self.buffer.find(END_OF_HEAD, end) + len(END_OF_HEAD)
                return self.size >= len(END_OF_HEAD)
            if size > MAX_BODY_BYTES:
                raise BodyTooLarge
            following = end + 2 + size + 2
            if len(self.buffer) < following:
                return False
            if self.buffer[following - 2 : following] != b"\r\n":
                return self._is_malformed()
            self._chunk_at = following
            self._chunks += 1
            if self._chunks > MOST_CHUNKS:
                raise BodyTooLarge

    def _is_malformed(self) -> bool:
        """All that is there belongs to what the parser is to refuse."""
        self.size = len(self.buffer)
        return True
