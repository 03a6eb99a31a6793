"""The trace of a request (W3C Trace Context): the caller's, or a new one; answer, log, audit and events carry it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from flask import Response, g, request

HEADER = "traceparent"

# version, trace-id, parent-id, trace-flags; a version above 00 may say more after that
_GIVEN = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?", re.ASCII)
# The one flag of version 00: somebody keeps the trace. What we begin ourselves is in our log.
_SAMPLED = 1


@dataclass(frozen=True)
class Trace:
    """`id` names the whole trace, `span` what this request is in it."""

    id: str
    span: str
    sampled: bool

    @property
    def header(self) -> str:
        return f"00-{self.id}-{self.span}-{int(self.sampled):02x}"


def follow(given: str) -> Trace:
    """The trace that `given` names, or a new one when it is malformed; this request is a span of its own in either."""
    found = _GIVEN.fullmatch(given)
    span = os.urandom(8).hex()
    if found is None or (found[1] == "00" and found[4]):
        return Trace(os.urandom(16).hex(), span, True)
    return Trace(found[2], span, bool(int(found[3], 16) & _SAMPLED))


def begin() -> None:
    g.trace = follow(request.headers.get(HEADER, ""))


def end(response: Response) -> Response:
    response.headers[HEADER] = g.trace.header
    return response
