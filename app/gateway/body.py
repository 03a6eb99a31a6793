"""Reads the raw body of a request within a limit, however it is framed."""

from __future__ import annotations

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge


def read_body(limit: int) -> bytes:
    """The whole body, at most `limit` bytes. Raises RequestEntityTooLarge, before reading where the length is told.

    Raises BadRequest for chunks that are none.
    """
    if request.content_length is not None and request.content_length > limit:
        raise RequestEntityTooLarge
    # Werkzeug cuts a chunked body off at its limit without a word, so the limit lies one byte beyond ours.
    request.max_content_length = limit + 1
    try:
        raw = request.get_data()
    except ParseException as error:
        raise BadRequest from error
    if len(raw) > limit:
        raise RequestEntityTooLarge
    return raw
