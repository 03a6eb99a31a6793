"""What is ended before the application sees it: counted, told of once a second, and answered in our form."""

from __future__ import annotations

import threading
import time
from collections import Counter

import structlog
from gunicorn.http import errors as refusals

from app.gateway import raw
from app.gateway.counters import TURNED_AWAY
from app.gateway.framing import BodyTooLarge, HeadTooLarge, Incoming, NoRoom, OtherCoding

log = structlog.get_logger()

# Between two lines about one kind: who is refused a thousand times a second must not fill a disk.
LINE_SECONDS = 1.0

# What the parser refuses, as (status, code, title); everything else of it is a bad request.
REFUSED: dict[type[Exception], tuple[int, str, str]] = {
    HeadTooLarge: (431, "request_header_fields_too_large", "Request Header Fields Too Large"),
    BodyTooLarge: (413, "body_too_large", "Request Entity Too Large"),
    NoRoom: (503, "overloaded", "Overloaded"),
    OtherCoding: (501, "not_implemented", "Not Implemented"),
    TimeoutError: (408, "request_timeout", "Request Timeout"),
    refusals.LimitRequestLine: (414, "uri_too_long", "Request-URI Too Long"),
    refusals.LimitRequestHeaders: (431, "request_header_fields_too_large", "Request Header Fields Too Large"),
    refusals.ExpectationFailed: (417, "expectation_failed", "Expectation Failed"),
    refusals.UnsupportedTransferCoding: (501, "not_implemented", "Not Implemented"),
}
# A header that we would have sent wrongly is our mistake, not the client's.
OURS = (refusals.InvalidResponseHeader, refusals.InvalidResponseHeaderName, refusals.ConfigurationProblem)
BAD = (400, "bad_request", "Bad Request")
DETAILS = {
    400: "The request is not HTTP as RFC 9112 has it.",
    408: "The whole request did not arrive in time.",
    413: "The body is larger than this resource takes.",
    503: "More is coming in than this process holds; nothing was done.",
}
# By when a process has room again: whoever comes in slowly has ten seconds, most have one.
HEADERS = {503: {"Retry-After": "1"}}


_lock = threading.Lock()
_silent_until: dict[str, float] = {}
_untold: Counter[str] = Counter()


def problem(error: Exception, incoming: Incoming) -> bytes:
    """The whole answer to what is no request of ours; the parser's own words hold parts of headers, and stay here."""
    status, code, title = next((REFUSED[kind] for kind in type(error).__mro__ if kind in REFUSED), BAD)
    note(code)
    return raw.problem(
        status,
        code,
        title,
        DETAILS.get(status, title + "."),
        method=incoming.target[0],
        given_id=incoming.header(b"x-request-id"),
        given_trace=incoming.header(b"traceparent"),
        headers=HEADERS.get(status),
    )


def note(kind: str) -> None:
    """Count one, and tell of it."""
    TURNED_AWAY.labels(kind).inc()
    tell(kind)


def tell(kind: str) -> None:
    """A line, unless one about this kind was written within the last second; `count` is how many since that one."""
    with _lock:
        _untold[kind] += 1
        if time.monotonic() < _silent_until.get(kind, 0.0):
            return
        _silent_until[kind] = time.monotonic() + LINE_SECONDS
        count = _untold.pop(kind)
    log.warning("turned away", kind=kind, count=count)
