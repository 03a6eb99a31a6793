"""Holds every answer that a test gets to the committed document: status, media type, headers, members, codes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from flask.testing import FlaskClient
from jsonschema_rs import Draft202012Validator, Registry
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from app.config import ROOT
from app.gateway.errors import template

# What HTTP itself or a browser wants of any answer, and no API has to describe.
OF_THE_WEB = {
    "Content-Type", "Content-Length", "Date", "Server", "Connection", "Cache-Control", "Vary",
    "Strict-Transport-Security", "Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options",
    "Referrer-Policy", "Permissions-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy",
}  # fmt: skip


@cache
def document() -> dict[str, Any]:
    """The committed document."""
    return json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))


def closed(node: Any) -> Any:
    """The same schemas, with no room for a member they do not name."""
    if isinstance(node, list):
        return [closed(part) for part in node]
    if not isinstance(node, dict):
        return node
    inner = {name: closed(part) for name, part in node.items()}
    if node.get("type") == "object" and "properties" in node:
        inner.setdefault("additionalProperties", False)
    return inner


@cache
def _registry() -> Registry:
    strict = {"components": {"schemas": closed(document()["components"]["schemas"])}}
    return Registry([("urn:doc", strict)])


@cache
def _validator(schema: str) -> Draft202012Validator:
    """Of a schema's text, made once: a test asks for the same few thousands of times."""
    return Draft202012Validator(schema.replace('"#/components/', '"urn:doc#/components/'), registry=_registry())


def violations(schema: dict[str, Any], value: Any) -> list[str]:
    """Where a value is not as a schema of the document says; a member it does not name is such a violation."""
    found = _validator(json.dumps(schema)).iter_errors(value)
    return ["/".join(["", *map(str, error.instance_path)]) + f": {error.message}" for error in found]


def undocumented(path: str, method: str, answer: Any) -> list[str]:
    """What this answer of the route `path` is, or has, that the document does not say."""
    operation = document()["paths"][path]["get" if method == "HEAD" else method.lower()]
    response = operation["responses"].get(str(answer.status_code))
    if response is None:
        return [f"{method} {path} does not say {answer.status_code}"]
    headers = set(answer.headers.keys()) - OF_THE_WEB - set(response.get("headers", {}))
    found = [f"{method} {path} {answer.status_code} does not say {name}" for name in headers]
    if method != "HEAD" and answer.mimetype not in response.get("content", {}):
        return [*found, f"{method} {path} {answer.status_code} does not say {answer.mimetype}"]
    if method != "HEAD" and answer.mimetype.endswith("json"):
        found += violations(response["content"][answer.mimetype]["schema"], answer.get_json())
    return found


class DocumentedClient(FlaskClient):
    """A test client that fails on an answer the document does not know, whatever the test is about."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        answer = super().open(*args, **kwargs)
        request = answer.request
        try:
            rule, _ = self.application.url_map.bind("localhost").match(request.path, request.method, return_rule=True)
        except (HTTPException, RequestRedirect):
            return answer  # no route of ours, and so no operation of the document
        # that every route of ours is described is a test of its own
        if template(rule.rule) in document()["paths"]:
            found = undocumented(template(rule.rule), request.method, answer)
            assert not found, "\n".join(found)
        return answer
