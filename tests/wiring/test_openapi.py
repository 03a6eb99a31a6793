"""The document says everything about every route; nothing in it is stale, invalid or without an example."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from app.config import Settings
from app.gateway import answers, contract, create_app, document, errors, headers, problems
from cli.openapi import PATH
from tests.gateway.documented import closed, violations

SPEC = json.loads(PATH.read_text(encoding="utf-8"))
OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in SPEC["paths"].items()
    for method, operation in methods.items()
]
IDS = [f"{method} {path}" for method, path, _ in OPERATIONS]
# Answered where there is no operation to say so: another method, or another path.
WITHOUT_OPERATION = {"method_not_allowed"}


@pytest.fixture(scope="module")
def app():
    return create_app(Settings(database_url="", migration_url="", key_pepper="none", stripe_api_key="none"))


def test_the_committed_document_is_what_the_routes_make() -> None:
    assert PATH.read_text(encoding="utf-8") == document.text(), "run: postbox openapi"


def test_it_is_openapi_3_1() -> None:
    assert SPEC["openapi"].startswith("3.1.")
    validate(SPEC)


def test_every_route_is_described(app) -> None:
    described = {(method, path) for method, path, _ in OPERATIONS}
    routed = {
        (method, errors.template(rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routed - described == {("GET", path) for path in document.UNDESCRIBED}
    assert described <= routed


def test_every_code_of_the_catalogue_can_be_answered_by_some_operation() -> None:
    told = {code for _, _, operation in OPERATIONS for response in operation["responses"].values()
            for code in codes_of(response)}  # fmt: skip
    assert told == set(errors.catalogue()) - WITHOUT_OPERATION


def test_the_table_names_no_header_that_is_not_described() -> None:
    for kind in contract.KINDS.values():
        assert set(kind.sends) <= set(headers.SENT)
        assert {*kind.answers, *kind.answers_on_success} <= set(headers.ANSWERED)
        assert set(kind.security) <= set(document.SECURITY_SCHEMES)
    answered = {name for _, _, o in OPERATIONS for r in o["responses"].values() for name in r["headers"]}
    # a 405 belongs to no operation
    assert answered == set(headers.ANSWERED) - {"Allow"}


def test_a_problem_has_every_member_that_an_error_may_add() -> None:
    assert set(problems.EXTENSIONS) <= set(answers.Problem().fields)


@pytest.mark.parametrize("method, path, operation", OPERATIONS, ids=IDS)
def test_an_operation_says_what_it_is_and_who_may_ask(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["tags"]
    assert isinstance(operation["security"], list)
    for status, response in operation["responses"].items():
        assert response["description"]
        assert response["content"], f"{status} has no body"
        assert "X-Request-Id" in response["headers"]


@pytest.mark.parametrize("method, path, operation", OPERATIONS, ids=IDS)
def test_every_body_has_an_example_that_fits(method: str, path: str, operation: dict[str, Any]) -> None:
    for content in contents(operation):
        if content["schema"].get("type") == "string":
            continue  # plain text for machines
        assert content["examples"]
        for example in content["examples"].values():
            assert violations(closed(content["schema"]), example["value"]) == []


@pytest.mark.parametrize("method, path, operation", OPERATIONS, ids=IDS)
def test_a_problem_tells_one_of_its_codes(method: str, path: str, operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        for code in codes_of(response):
            assert errors.catalogue()[code].status == int(status)


def codes_of(response: dict[str, Any]) -> list[str]:
    problem = response["content"].get(errors.CONTENT_TYPE)
    return problem["schema"]["properties"]["code"]["enum"] if problem else []


def contents(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from part.get("content", {}).values()
