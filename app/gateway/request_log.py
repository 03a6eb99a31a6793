"""One line per request that the application answers: ids, the route's template, and no text of a client's."""

from __future__ import annotations

import time

import structlog
from flask import Response, g, request

from app.gateway.errors import instance
from app.gateway.metrics import known_method

log = structlog.get_logger()


def end(response: Response) -> Response:
    """The line of a request: whose key, by its id, once that is proven; the route, never what was put into it."""
    log.info(
        "request",
        method=known_method(request.method),
        route=instance(),
        status=response.status_code,
        seconds=round(time.monotonic() - g.started, 6),
        request_id=g.request_id,
        trace_id=g.trace.id,
        merchant_id=g.get("merchant_id"),
        key_id=g.get("key_id"),
        operator_id=g.get("operator_id"),
    )
    return response
