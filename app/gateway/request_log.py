"""One line per request that the application answers: ids, the route's template, and no text of a client's."""

from __future__ import annotations

import time
from uuid import UUID

import structlog
from flask import Response, g, request

from app.gateway.errors import instance
from app.gateway.metrics import known_method

log = structlog.get_logger()

WHO = ("merchant_id", "key_id", "operator_id")


def end(response: Response) -> Response:
    """The line of a request: whose key, by its id, once that is proven; the route, never what was put into it."""
    known = g.get
    who = {name: known(name) for name in WHO}
    seconds = time.monotonic() - known("started")
    tell(known_method(request.method), instance(), response.status_code, seconds, g.request_id, g.trace.id, **who)
    return response


def tell(
    method: str,
    route: str,
    status: int,
    seconds: float,
    request_id: str,
    trace_id: str,
    *,
    merchant_id: UUID | None = None,
    key_id: str | None = None,
    operator_id: str | None = None,
) -> None:
    """The line itself, of a request that was answered with the framework or without."""
    log.info(
        "request",
        method=method,
        route=route,
        status=status,
        seconds=round(seconds, 6),
        request_id=request_id,
        trace_id=trace_id,
        merchant_id=merchant_id,
        key_id=key_id,
        operator_id=operator_id,
    )
