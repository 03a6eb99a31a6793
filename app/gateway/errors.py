"""Every error as RFC 9457 problem+json: one table from exception to status; no database text leaves here."""

from __future__ import annotations

import json
import math
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any

import psycopg
import structlog
from apiflask import APIFlask, HTTPError
from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from app import errors
from app.gateway import problems
from app.gateway.auth import CHALLENGE, SESSION_CHALLENGE
from app.gateway.card_numbers import holds_card_number
from app.gateway.schemas import CARD_NUMBER

log = structlog.get_logger()

CONTENT_TYPE = "application/problem+json"
TYPE = "urn:postbox:problem:"


@dataclass(frozen=True)
class Problem:
    """How one class of error is answered; the code, and so the type, is the exception's own."""

    status: int
    title: str
    headers: Mapping[str, str] = field(default_factory=dict)


PROBLEMS: dict[type[errors.PostboxError], Problem] = {
    errors.Unauthenticated: Problem(401, "Not authenticated", {"WWW-Authenticate": CHALLENGE}),
    errors.ScopeMissing: Problem(403, "Scope missing"),
    errors.SignInRefused: Problem(401, "Sign-in refused", {"WWW-Authenticate": SESSION_CHALLENGE}),
    errors.SignInBlocked: Problem(429, "Sign-in blocked"),
    errors.NotSignedIn: Problem(401, "Not signed in", {"WWW-Authenticate": SESSION_CHALLENGE}),
    errors.RoleRefused: Problem(403, "Role refused"),
    errors.SamePerson: Problem(403, "Same person"),
    errors.TakesTwo: Problem(409, "Takes two people"),
    problems.CrossSite: Problem(403, "Cross-site request refused"),
    problems.OperatorsOff: Problem(503, "Operator API off"),
    problems.WrongMode: Problem(403, "Wrong mode"),
    errors.NotFound: Problem(404, "Not found"),
    problems.RateLimited: Problem(429, "Too many requests"),  # limits.end says when to come back
    problems.Overloaded: Problem(503, "Overloaded"),  # the door says when to come back
    problems.MalformedBody: Problem(400, "Malformed JSON"),
    problems.WrongMediaType: Problem(415, "Unsupported media type"),
    errors.KeyMissing: Problem(400, "Idempotency-Key missing"),
    problems.KeyMalformed: Problem(400, "Idempotency-Key malformed"),
    errors.KeyReused: Problem(422, "Idempotency-Key reused"),
    errors.KeyInUse: Problem(409, "Idempotency-Key in use", {"Retry-After": "1"}),
    errors.Invalid: Problem(422, "Invalid request"),
    errors.AmountRefused: Problem(422, "Amount refused"),
    errors.IllegalTransition: Problem(409, "State conflict"),
    errors.OperationOpen: Problem(409, "Operation open"),
    errors.VersionChanged: Problem(412, "Precondition failed"),
    errors.WebhookRefused: Problem(400, "Webhook refused"),
    # Soon for a lock, later for a server that has to come back.
    errors.Busy: Problem(503, "Busy", {"Retry-After": "1"}),
    errors.TooSlow: Problem(503, "Busy", {"Retry-After": "1"}),
    errors.DatabaseDown: Problem(503, "Database down", {"Retry-After": "5"}),
}
INTERNAL = Problem(500, "Internal error")

# What the framework refuses, by status; a status not listed is named after its phrase.
CODES = {
    400: "bad_request",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    414: "uri_too_long",
    415: problems.WrongMediaType.code,
    417: "expectation_failed",
    422: errors.Invalid.code,
    431: "request_header_fields_too_large",
    500: "internal_error",
    501: "not_implemented",
}
DETAILS = {413: "The body is larger than this resource takes.", 500: "Something went wrong; the request id finds it."}

# Marshmallow's own messages that clients tell apart; everything else is `invalid`.
MEMBER_CODES = {
    "Missing data for required field.": "required",
    "Unknown field.": "unknown_member",
    "Field may not be null.": "null",
    CARD_NUMBER: "card_number_refused",
}

_CONVERTER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")


def register(app: APIFlask) -> None:
    """Make this module answer every error of the application."""
    app.error_processor(_framework)  # first: it installs handlers of its own, which these replace
    app.register_error_handler(errors.PostboxError, _domain)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def code_of(error: Exception) -> str:
    """The code that the answer to an error carries."""
    return error.code if isinstance(error, errors.PostboxError) and _found(error) else CODES[500]


def _found(error: errors.PostboxError) -> Problem | None:
    return next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), None)


def _domain(error: errors.PostboxError) -> Response:
    found = _found(error)
    if found is None:
        return _unexpected(error)
    more = {name: error.extra[name] for name in problems.EXTENSIONS if name in error.extra}
    listed = error.errors if isinstance(error, errors.Invalid) else []
    headers = dict(found.headers)
    # What is not found was named by the caller, by a card number maybe: the command line says it again, no answer does.
    detail = type(error)().detail if isinstance(error, errors.NotFound) else error.detail
    if "wait" in error.extra:
        headers["Retry-After"] = str(math.ceil(float(str(error.extra["wait"]))))
    return problem(found.status, error.code, found.title, detail, listed, headers, more)


def known(error: errors.PostboxError) -> Problem:
    """How an error of the domain is answered."""
    found = _found(error)
    assert found is not None, f"{type(error).__name__} is in the table"
    return found


def refuse(error: errors.PostboxError, headers: Mapping[str, str]) -> Response:
    """The answer to what the door does not let in."""
    found = known(error)
    return problem(found.status, error.code, found.title, error.detail, [], headers, {})


def _http(error: HTTPException) -> Response:
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    return _by_status(error.code or 500, headers, [])


def _framework(error: HTTPError) -> Any:
    listed = _flatten(error.detail) if error.status_code == 422 and isinstance(error.detail, dict) else []
    return _by_status(error.status_code, {}, listed)


def _by_status(status: int, headers: Mapping[str, str], listed: list[dict[str, str]]) -> Response:
    title = HTTPStatus(status).phrase
    code = CODES.get(status, title.lower().replace(" ", "_").replace("-", "_"))
    detail = DETAILS.get(status, HTTPStatus(status).description or title)
    if status == 422:
        title, detail = PROBLEMS[errors.Invalid].title, errors.Invalid().detail
    return problem(status, code, title, detail, listed, headers, {})


def _unexpected(error: Exception) -> Response:
    # A database error's text holds whole rows: of those, and of what they caused, only the names are logged.
    if isinstance(error, errors.ConstraintViolated):
        story = f"constraint {error.constraint} sqlstate {error.sqlstate}"
    elif isinstance(error, psycopg.Error):
        story = f"{type(error).__name__} sqlstate {error.sqlstate}"
    else:
        story = "".join(traceback.format_exception(error, chain=False))
    log.error("request failed", request_id=request_id(), trace_id=g.trace.id, route=instance(), exception=story)
    return problem(INTERNAL.status, CODES[500], INTERNAL.title, DETAILS[500], [], {}, {})


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    listed: list[dict[str, str]],
    headers: Mapping[str, str],
    more: Mapping[str, object],
) -> Response:
    body = {**members(status, code, title, detail, listed, instance(), request_id()), **more}
    return Response(json.dumps(body), status, headers=dict(headers), content_type=CONTENT_TYPE)


def members(
    status: int, code: str, title: str, detail: str, listed: list[dict[str, str]], instance: str, request_id: str
) -> dict[str, object]:
    """The members that every problem has."""
    return {
        "type": type_of(code),
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "errors": listed,
        "request_id": request_id,
    }


def instance() -> str:
    """The route as a template, never what was put into it; `/` where no route was found."""
    rule = request.url_rule
    return template(rule.rule) if rule else "/"


@cache
def template(rule: str) -> str:
    """Flask's `<name>` as `{name}`, as RFC 6570 and OpenAPI write it."""
    return _CONVERTER.sub(r"{\1}", rule)


def type_of(code: str) -> str:
    """The URI of a type of problem."""
    return TYPE + code.replace("_", "-")


def catalogue() -> dict[str, Problem]:
    """Every code that an answer can carry, and how it is answered."""
    ours = {kind.code: found for kind, found in PROBLEMS.items()}
    framework = {code: Problem(status, HTTPStatus(status).phrase) for status, code in CODES.items() if code not in ours}
    return {**ours, **framework, CODES[INTERNAL.status]: INTERNAL}


def detail_of(code: str) -> str:
    """What `detail` says unless there is more to say."""
    kind = next((kind for kind in PROBLEMS if kind.code == code), None)
    if kind is not None:
        return kind().detail
    status = catalogue()[code].status
    return DETAILS.get(status) or HTTPStatus(status).description or HTTPStatus(status).phrase


def request_id() -> str:
    return str(g.get("request_id", ""))


def _flatten(messages: Mapping[str, Any]) -> list[dict[str, str]]:
    """Marshmallow's tree of messages as JSON pointers (RFC 6901) below its location (`json` or `query`)."""
    return [entry for location in messages.values() for entry in _walk(location, "")]


def _walk(node: Any, pointer: str) -> list[dict[str, str]]:
    if isinstance(node, Mapping):
        # `_schema` is about the whole; `key` and `value` are how a Dict field tells its two halves apart
        return [entry for name, part in node.items() for entry in _walk(part, pointer + _token(str(name), pointer))]
    if isinstance(node, list):
        return [entry for part in node for entry in _walk(part, pointer)]
    text = str(node)
    return [{"pointer": pointer, "code": MEMBER_CODES.get(text, "invalid"), "detail": text}]


def _token(name: str, parent: str) -> str:
    if name == "_schema" or (parent.startswith("/metadata/") and name in ("key", "value")):
        return ""
    if holds_card_number(name):
        return ""  # the answer, and whoever logs it, must not hold it either
    return "/" + name.replace("~", "~0").replace("/", "~1")
