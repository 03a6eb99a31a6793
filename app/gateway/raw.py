"""The bytes of a problem that is answered before the application is asked: the same members, the same headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from flask import Flask
from werkzeug.exceptions import HTTPException

from app.gateway import errors, metrics, request_id, security_headers, trace
from app.gateway.door import Refusal

# Paths whose template is remembered, of up to 4 KB each: who is refused mostly asks for the same again. The parser, by
# whom longer ones are refused, comes after the door.
MOST_PATHS, MOST_PATH_BYTES = 256, 4 * 1024


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    method: str = "",
    instance: str = "/",
    given_id: str = "",
    given_trace: str = "",
    headers: Mapping[str, str] | None = None,
    keep: bool = False,
) -> bytes:
    """A whole HTTP/1.1 answer, without its content to a HEAD; `keep` says that the connection goes on."""
    identity = request_id.harmless(given_id)
    body = errors.members(status, code, title, detail, [], instance, identity)
    content = json.dumps(body).encode()
    named = {
        "Content-Type": errors.CONTENT_TYPE,
        "Content-Length": str(len(content)),
        "Date": formatdate(usegmt=True),
        "Connection": "keep-alive" if keep else "close",
        request_id.HEADER: identity,
        trace.HEADER: trace.follow(given_trace).header,
        "Content-Security-Policy": security_headers.DATA_POLICY,
        **security_headers.ALWAYS,
        **(headers or {}),
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if method == "HEAD" else content)


def refusal(
    app: Flask, found: Refusal, method: str, path: str, *, given_id: str, given_trace: str = "", keep: bool
) -> bytes:
    """What the application would answer to what its door does not let in."""
    known, instance = errors.known(found.error), template(app, method, path)
    metrics.count(metrics.known_method(method), instance, known.status)
    return problem(
        known.status,
        found.error.code,
        known.title,
        found.error.detail,
        method=method,
        instance=instance,
        given_id=given_id,
        given_trace=given_trace,
        headers=found.headers,
        keep=keep,
    )


def template(app: Flask, method: str, path: str) -> str:
    """The route of a path, as a template."""
    found = remembered if len(path) <= MOST_PATH_BYTES else remembered.__wrapped__
    return found(app, method, path)


@lru_cache(maxsize=MOST_PATHS)
def remembered(app: Flask, method: str, path: str) -> str:
    try:
        rule, _ = app.url_map.bind("").match(path, method, return_rule=True)
    except HTTPException:
        return "/"
    return errors.template(rule.rule)
