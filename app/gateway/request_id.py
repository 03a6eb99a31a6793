"""Gives every request an id: the client's when it is harmless, else ours; answer, log and audit carry it."""

from __future__ import annotations

import re
import uuid

from flask import Response, g, request

from app.gateway.card_numbers import holds_card_number

HEADER = "X-Request-Id"

# It goes into logs and audit rows: nothing that could break a line or fill a disk.
_HARMLESS = re.compile(r"[A-Za-z0-9._\-]{1,64}")


def begin() -> None:
    g.request_id = harmless(request.headers.get(HEADER, ""))


def harmless(given: str) -> str:
    """The client's id, or one of ours in its place."""
    is_harmless = _HARMLESS.fullmatch(given) and not holds_card_number(given)
    return given if is_harmless else uuid.uuid4().hex


def end(response: Response) -> Response:
    response.headers[HEADER] = g.get("request_id", "")
    return response
