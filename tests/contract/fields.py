"""Every field that a caller can fill, found in the document, and requests that put something into one of them."""

from __future__ import annotations

import copy
import hashlib
import hmac
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.fixtures.database import WEBHOOK_SECRET
from tests.gateway.documented import document

_numbers = itertools.count()
# Stands where a fragment of raw JSON will stand.
HOLE = "\u25a1"
# Stands for whatever item an array holds.
ITEM = "[]"

Path = tuple[str, ...]


@dataclass(frozen=True)
class Body:
    """The body that one operation takes, with the example that it accepts."""

    method: str
    route: str
    operation: dict[str, Any]
    schema: dict[str, Any]
    example: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.route}"

    @property
    def url(self) -> str:
        """The route with an id in every place of one; `default` is the account there is."""
        named = self.route.replace("{account}", "default").replace("{payment_id}", "pay_" + "0" * 32)
        return re.sub(r"\{[^}]+\}", "nothing", named)

    def fields(self) -> list[tuple[Path, dict[str, Any]]]:
        """Every string and number of the body, with its schema."""
        return list(_leaves(self.schema, ()))

    def objects(self) -> list[Path]:
        """Where the body has an object that names its members, itself first."""
        return [(), *_objects(self.schema, ())]

    def with_raw(self, path: Path, fragment: str) -> bytes:
        """The example as JSON, with `fragment` as the value of one member, or of an array's only item."""
        body = copy.deepcopy(self.example)
        at: Any = body
        for name in path[:-1]:
            at = at.setdefault(name, {})
        if path[-1] == ITEM:
            at[:] = [HOLE]
        else:
            at[path[-1]] = HOLE
        # surrogatepass: a fragment may hold what UTF-8 cannot
        return json.dumps(body).replace(json.dumps(HOLE), fragment).encode("utf-8", "surrogatepass")


def bodies() -> list[Body]:
    """Every operation that takes a JSON body, whoever sends it."""
    found = []
    for route, methods in document()["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content:
                schema, example = resolved(content["schema"]), content["examples"]["complete"]["value"]
                found.append(Body(method.upper(), route, operation, schema, example))
    return found


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def _leaves(schema: dict[str, Any], path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    schema = resolved(schema)
    if schema.get("type") in ("string", "integer", "number"):
        yield path, schema
    for name, member in schema.get("properties", {}).items():
        yield from _leaves(member, (*path, name))
    if "items" in schema:
        yield from _leaves(schema["items"], (*path, ITEM))
    if isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
        yield from _leaves(schema["additionalProperties"], (*path, "anything"))


def _objects(schema: dict[str, Any], path: Path) -> Iterator[Path]:
    for name, member in schema.get("properties", {}).items():
        inner = resolved(member)
        if inner.get("properties"):
            yield (*path, name)
            yield from _objects(inner, (*path, name))


def signature(raw: bytes) -> str:
    """Stripe's header over a body, as of now."""
    second = str(int(time.time()))
    digest = hmac.new(WEBHOOK_SECRET.encode(), second.encode() + b"." + raw, hashlib.sha256).hexdigest()
    return f"t={second},v1={digest}"


def scheme_of(body: Body) -> str:
    """The security scheme that lets a caller in; `nobody` where everybody may try."""
    return next(iter(body.operation["security"][0])) if body.operation["security"] else "nobody"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Idempotency-Key": f"contract-{next(_numbers)}"}


# Scheme -> the headers of somebody it lets in, given the body.
Callers = dict[str, Callable[[bytes], dict[str, str]]]


def send(client: Any, callers: Callers, body: Body, raw: bytes) -> Any:
    """Send bytes as the body of an operation, as somebody who may."""
    headers = {"Content-Type": "application/json", **callers[scheme_of(body)](raw)}
    return client.open(body.url, method=body.method, data=raw, headers=headers)
