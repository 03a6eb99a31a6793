"""Completes the OpenAPI document that APIFlask makes of the routes: problems, headers, links, examples, security."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from apiflask import APIFlask, Schema
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from app.config import Settings
from app.gateway import answers, contract, errors, headers
from app.gateway.auth import SESSION_COOKIE
from app.gateway.contract import Kind
from app.gateway.examples import example_of

DESCRIPTION = """Payments on Postgres and nothing else.

Amounts are JSON integers in minor units, moments are RFC 3339 in UTC, ids are opaque. Every error is a problem of
RFC 9457 with a `code`; [the catalogue](/docs/problems) says what each means and what to do.
Lists are pages: `next_cursor` leads to the next. Payments, refunds and disputes come newest first, and what is made
meanwhile is on no later page. Only `/v1/events` and `/v1/balance/entries` go forward, and promise that who follows
their cursor misses nothing.
"""

SECURITY_SCHEMES = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, `pb_test_...` or `pb_live_...`."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "An operator's session. A change also needs our `Origin` and the session's `X-CSRF-Token`.",
    },
    "webhookSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "Stripe-Signature",
        "description": "Stripe's signature over the raw body.",
    },
}

# Routes that are the description, for machines and for people.
UNDESCRIBED = frozenset({"/openapi.json", "/docs", "/docs/problems", "/docs/assets/{name}"})

_SCHEMA = "#/components/schemas/"
Operation = dict[str, Any]


def register(app: APIFlask) -> None:
    """Have the application describe itself at /openapi.json; what is said here is said of all routes."""
    app.description = DESCRIPTION
    app.servers = [{"url": "/"}]
    app.config.update(
        SECURITY_SCHEMES=SECURITY_SCHEMES,
        AUTO_OPERATION_ID=True,
        SUCCESS_DESCRIPTION="Done.",
        # all of these are said by the table in contract.py, with the codes there are
        AUTO_404_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_AUTH_ERROR_RESPONSE=False,
        AUTO_200_RESPONSE=False,
    )

    @app.spec_processor
    def finish(spec: dict[str, Any] | str) -> dict[str, Any]:
        assert isinstance(spec, dict), "the document is made as JSON"
        return complete(app, spec)


def text() -> str:
    """The document as it is committed: what the routes make, whatever the settings."""
    from app.gateway import create_app

    app = create_app(Settings(database_url="", migration_url="", key_pepper="none", stripe_api_key="none"))
    return json.dumps(app.spec, indent=2, ensure_ascii=False) + "\n"


def complete(app: APIFlask, spec: dict[str, Any]) -> dict[str, Any]:
    """Add to every operation what its kind, its parameters and its marks say."""
    schemas = spec["components"].setdefault("schemas", {})
    schemas.update(_schemas_of(answers.Problem))
    spec["components"]["headers"] = dict(headers.ANSWERED)
    spec["components"]["parameters"] = {
        name: {"name": name, "in": "header", **told} for name, told in headers.SENT.items()
    }
    for operation, view, arguments in operations(app, spec):
        kind = contract.KINDS[_kind_of(operation, view)]
        # the roles that are required, as OpenAPI 3.1 has it for schemes without scopes of their own
        needed = [getattr(view, word).value for word in ("scope", "right") if hasattr(view, word)]
        operation["security"] = [{name: needed} for name in kind.security]
        if raw := contract.raw_schema_of(view):
            schemas.update(_schemas_of(raw))
            content = {"application/json": {"schema": {"$ref": _SCHEMA + raw.__name__}}}
            operation["requestBody"] = {"content": content}
        _describe_request(operation, kind, contract.is_conditional(view), schemas)
        _describe_answers(operation, kind, schemas)
        for status, codes in sorted(_codes(operation, kind, view, arguments).items()):
            operation["responses"].setdefault(str(status), _problem(status, codes, kind))
    _name_members(schemas)
    _link(spec)
    return spec


def operations(app: APIFlask, spec: dict[str, Any]) -> Iterator[tuple[Operation, Callable[..., Any], set[str]]]:
    """Every operation of the document with its view and the names in its path."""
    for rule in app.url_map.iter_rules():
        for method, operation in spec["paths"].get(errors.template(rule.rule), {}).items():
            if method.upper() in (rule.methods or ()):
                yield operation, app.view_functions[rule.endpoint], set(rule.arguments)


def _kind_of(operation: Operation, view: Callable[..., Any]) -> str:
    kind = contract.kind_of(view)
    assert kind, f"{operation['operationId']} is of no kind: see contract.py"
    return kind


def _describe_request(operation: Operation, kind: Kind, conditional: bool, schemas: dict[str, Any]) -> None:
    sent = (*kind.sends, *(["If-Match"] if conditional else []), *headers.ALWAYS_SENT)
    operation["parameters"] = [
        *operation.get("parameters", []),
        *({"$ref": f"#/components/parameters/{name}"} for name in sent),
    ]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["examples"] = {"complete": {"value": example_of(content["schema"], schemas)}}
        # a body whose every member is optional may be left out
        operation["requestBody"]["required"] = bool(_resolved(content["schema"], schemas).get("required"))
        if not operation["requestBody"]["required"]:
            content["examples"]["empty"] = {"value": {}}


def _describe_answers(operation: Operation, kind: Kind, schemas: dict[str, Any]) -> None:
    for response in operation["responses"].values():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        tagged = ["ETag"] if kind.security == ("apiKey",) and schema.get("$ref") == f"{_SCHEMA}Payment" else []
        told = (*headers.ALWAYS_ANSWERED, *kind.answers, *kind.answers_on_success, *tagged)
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in told}
        response.setdefault("description", "Done.")
        for media_type, content in response.get("content", {}).items():
            if media_type == "application/json":
                content["examples"] = {"complete": {"value": example_of(content["schema"], schemas)}}


def _codes(operation: Operation, kind: Kind, view: Callable[..., Any], arguments: set[str]) -> dict[int, list[str]]:
    """The codes of every problem this operation can answer, by status."""
    told = [*contract.BY_SERVER, *kind.problems, *contract.problems_of(view)]
    takes_query = any(parameter.get("in") == "query" for parameter in operation["parameters"])
    takes_body = "requestBody" in operation and contract.raw_schema_of(view) is None
    told += contract.BY_PATH_PARAMETER if arguments and kind.tells_of_absence else ()
    told += contract.BY_INPUT if takes_query or takes_body else ()
    known = errors.catalogue()
    by_status: dict[int, list[str]] = {}
    for code in sorted(set(told)):
        by_status.setdefault(known[code].status, []).append(code)
    return by_status


def _problem(status: int, codes: list[str], kind: Kind) -> dict[str, Any]:
    known = errors.catalogue()
    of_problems = sorted(
        {name for code in codes for name in known[code].headers} | set(headers.BY_STATUS.get(status, ()))
    )
    # a stranger is told nothing of anybody's limits
    told = (*headers.ALWAYS_ANSWERED, *of_problems, *(kind.answers if status != 401 else ()))
    return {
        "description": "; ".join(f"`{code}`: {known[code].title}" for code in codes),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in told},
        "content": {
            errors.CONTENT_TYPE: {
                "schema": {"$ref": f"{_SCHEMA}Problem", "properties": {"code": {"enum": codes}}},
                "examples": {code: {"value": _problem_example(code)} for code in codes},
            }
        },
    }


def _problem_example(code: str) -> dict[str, Any]:
    found = errors.catalogue()[code]
    schemas = _schemas_of(answers.Problem)
    example = example_of(schemas["Problem"], schemas)
    if code != "state_conflict":
        del example["state"]
    listed = example["errors"] if found.status == 422 else []
    told = {"type": errors.type_of(code), "title": found.title, "status": found.status, "code": code, "errors": listed}
    return {**example, **told, "detail": errors.detail_of(code)}


def _schemas_of(schema: type[Schema]) -> dict[str, Any]:
    """The schema and those it names, as JSON Schema."""
    spec = APISpec("", "", "3.1.0", plugins=[MarshmallowPlugin()])
    spec.components.schema(schema.__name__, schema=schema)
    found: dict[str, Any] = spec.to_dict()["components"]["schemas"]
    return found


def _name_members(schemas: dict[str, Any]) -> None:
    """Say how the names of free members must be: JSON Schema's word, which apispec lets through as `x-` only."""
    for schema in schemas.values():
        for member in schema.get("properties", {}).values():
            if names := member.pop("x-propertyNames", None):
                member["propertyNames"] = names


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    return schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def _link(spec: dict[str, Any]) -> None:
    """Lead from every answer that tells an object's id to what can be asked about that object.

    A path parameter `x_id` is the id of the schema whose `object` is always `x`, or the member `x` of another.
    """
    schemas = spec["components"]["schemas"]
    ways = [
        (parameter["name"], operation["operationId"])
        for path in spec["paths"].values()
        for operation in path.values()
        for parameter in operation["parameters"]
        if parameter.get("in") == "path"
    ]
    for path in spec["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                schema = response.get("content", {}).get("application/json", {}).get("schema", {})
                members = _resolved(schema, schemas).get("properties", {})
                links = {
                    target: {"operationId": target, "parameters": {name: f"$response.body#/{member}"}}
                    for name, target in ways
                    if (member := _member_of(name.removesuffix("_id"), members))
                }
                if links:
                    response["links"] = links


def _member_of(noun: str, members: dict[str, Any]) -> str | None:
    if members.get("object", {}).get("enum") == [noun]:
        return "id"
    return noun if members.get(noun, {}).get("type") == "string" else None
