"""Own, other's, absent: every operation of the document, every id it takes, three merchants, every role.

What is another merchant's is answered as what does not exist: in status, headers and body.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from app.model.operator_role import RIGHTS, OperatorRole
from app.model.scope import ALL_SCOPES
from tests import factories
from tests.contract.seed import seed
from tests.gateway.conftest import Api
from tests.gateway.documented import document
from tests.gateway.ops.conftest import desk, edge, settings  # noqa: F401 (fixtures)

# How a merchant gets an object of the kind that a path parameter names, as the id that the API shows. A parameter that
# is new has to say so here.
MAKERS: dict[str, Callable[[Any, uuid.UUID], str]] = {
    "payment_id": lambda sql, merchant: "pay_" + factories.payment(sql, "authorized", merchant_id=merchant)["id"].hex,
    "refund_id": lambda sql, merchant: "re_" + factories.refund(sql, confirmed(sql, merchant))["id"].hex,
    "dispute_id": lambda sql, merchant: "dp_" + factories.dispute(sql, confirmed(sql, merchant))["id"].hex,
}
# Query parameters that name what another merchant may have: each with its value for a payment, or for none. The rest is
# choices and moments. A cursor is a position and no name: test_tenancy has it.
FILTERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "reference": lambda payment: payment["reference"],
    "payment": lambda payment: "pay_" + payment["id"].hex,
}
NOBODYS = {"reference": "of-nobody", "id": uuid.UUID(int=7)}
NO_NAMES = {
    "limit",
    "cursor",
    "state",
    "currency",
    "topic",
    "created[gte]",
    "created[lt]",
    "amount",
    "method",
    "expand",
}
# Answers differ in these whoever asks. RateLimit's are recognised by their beginning.
NOISE = ("date", "x-request-id", "traceparent")

ROLES = {"every scope": ALL_SCOPES, **{scope: (scope,) for scope in ALL_SCOPES}}


def confirmed(sql: Any, merchant: uuid.UUID) -> dict[str, Any]:
    return factories.payment(sql, "confirmed", merchant_id=merchant)


def operations(prefix: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation) of every operation below `prefix`."""
    return [
        (method.upper(), path, operation)
        for path, methods in document()["paths"].items()
        if path.startswith(prefix)
        for method, operation in methods.items()
    ]


def named(operation: dict[str, Any], where: str) -> list[str]:
    return [parameter["name"] for parameter in operation.get("parameters", []) if parameter.get("in") == where]


WITH_ID = [(method, path, operation) for method, path, operation in operations("/v1/") if named(operation, "path")]


def example(operation: dict[str, Any]) -> Any:
    """A body that fits, from the document itself; the smallest there is."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples = content.get("examples", {})
    return examples.get("empty", examples.get("complete", {"value": None}))["value"]


def plain(answer: Any) -> tuple[int, list[tuple[str, str]], Any]:
    """What tells one answer from another."""
    headers = sorted(
        (name.lower(), value)
        for name, value in answer.headers
        if name.lower() not in NOISE and not name.lower().startswith("ratelimit")
    )
    body = answer.get_json(silent=True) or {}
    return answer.status_code, headers, {name: value for name, value in body.items() if name != "request_id"}


@pytest.fixture
def merchants(login) -> list[Api]:
    return [login() for _ in range(3)]


def filled(path: str, identity: str) -> str:
    head, _, rest = path.partition("{")
    return head + identity + rest.partition("}")[2]


def test_every_id_and_every_filter_of_the_document_is_in_these_tables():
    assert {name for _, _, o in operations("/v1/") for name in named(o, "path")} <= set(MAKERS)
    assert {name for _, _, o in operations("/v1/") for name in named(o, "query")} <= set(FILTERS) | NO_NAMES
    assert all(len(named(operation, "path")) == 1 for _, _, operation in WITH_ID)
    assert len(WITH_ID) >= 4


@pytest.mark.parametrize("role", ROLES)
def test_anothers_is_absent_for_a_key_of_every_role(sql, login, merchants, role):
    keys = [
        Api(api.client, api.merchant_id, factories.api_key(sql, api.merchant_id, scopes=list(ROLES[role])))
        for api in merchants
    ]
    for method, path, operation in WITH_ID:
        (name,) = named(operation, "path")
        owned = [MAKERS[name](sql, api.merchant_id) for api in merchants]
        absent = owned[0].partition("_")[0] + "_" + uuid.uuid4().hex
        (needed,) = operation["security"][0].values()
        may = set(needed) <= set(ROLES[role])
        for number, api in enumerate(keys):
            missing = plain(ask(api, method, filled(path, absent), operation))
            assert missing[0] == (404 if may else 403)
            others = owned[:number] + owned[number + 1 :]
            told = [plain(ask(api, method, filled(path, identity), operation)) for identity in others]
            assert told == [missing] * 2, (method, path)
        for api, identity in zip(keys, owned, strict=True):
            own = ask(api, method, filled(path, identity), operation)
            assert (own.status_code not in (403, 404)) is may, (method, path, own.text)
    asked = sql.execute(
        "select count(*) as n from operations o where not exists (select from payments p"
        " where p.merchant_id = o.merchant_id and p.id = o.payment_id)"
    ).fetchone()
    assert asked == {"n": 0}


def ask(api: Api, method: str, path: str, operation: dict[str, Any]) -> Any:
    return api.get(path) if method == "GET" else api.post(path, example(operation))


def test_a_stranger_learns_nothing_of_any_id(app, sql, merchants):
    client = app.test_client()
    for method, path, operation in WITH_ID:
        (name,) = named(operation, "path")
        known = MAKERS[name](sql, merchants[0].merchant_id)
        absent = known.partition("_")[0] + "_" + uuid.uuid4().hex
        answers = [
            plain(client.open(filled(path, identity), method=method, json=example(operation) or {}))
            for identity in (known, absent)
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] == 401


def test_a_filter_finds_nothing_of_anothers(sql, merchants):
    theirs = []
    for number, api in enumerate(merchants):
        theirs.append(factories.payment(sql, "confirmed", merchant_id=api.merchant_id, reference=f"of-{number}"))
        factories.refund(sql, theirs[-1], amount=1)
        factories.dispute(sql, theirs[-1])
    filtered = [(path, name) for _, path, o in operations("/v1/") for name in named(o, "query") if name in FILTERS]
    assert ("/v1/payments", "reference") in filtered
    for path, name in filtered:
        for number, api in enumerate(merchants):
            nothing = plain(api.get(path, **{name: FILTERS[name](NOBODYS)}))
            others = [plain(api.get(path, **{name: FILTERS[name](p)})) for p in theirs if p is not theirs[number]]
            assert others == [nothing] * 2
            assert plain(api.get(path, **{name: FILTERS[name](theirs[number])})) != nothing


# What an operator may be shown of an id: /ops/v1 serves all merchants, so here only a right tells people apart.
OPS = [(method, path, operation) for method, path, operation in operations("/ops/v1/") if named(operation, "path")]


@pytest.mark.parametrize("role", [role.value for role in OperatorRole])
def test_an_operator_without_the_right_learns_nothing_of_any_id(sql, desk, merchants, role):  # noqa: F811
    existing = [seed(sql, api.merchant_id) for api in merchants]
    person, rights = desk(role), {right.value for right in RIGHTS[OperatorRole(role)]}
    for method, path, operation in OPS:
        (name,) = named(operation, "path")
        (needed,) = (scopes for scheme in operation["security"] for scopes in scheme.values())
        known = [ids[name].pop() for ids in existing]  # acting on one uses it up
        told = [
            plain(person.open(method, filled(path, identity), data=json.dumps(example(operation) or {})))
            for identity in (*known, absent_like(known[0]))
        ]
        if not set(needed) <= rights:
            assert [status for status, *_ in told] == [403] * 4, (method, path)
            assert told == [told[0]] * 4
            continue
        assert told[-1][0] == 404, (method, path)
        assert not {status for status, *_ in told[:-1]} & {403, 404}, (method, path, told)


def absent_like(identity: str) -> str:
    """An id of the same kind that nothing has: the last digits of every number in it are others."""
    return re.sub(r"[0-9a-f]{8}(?![0-9a-f])", lambda _: uuid.uuid4().hex[:8], identity)


def test_neither_key_opens_the_others_door(sql, desk, merchants):  # noqa: F811
    """A merchant's key at the operators' door, and an operator's session at the merchants'."""
    api, person = merchants[0], desk("admin")
    for method, path, operation in [*OPS, *WITH_ID]:
        identity = MAKERS["payment_id"](sql, api.merchant_id)
        at_ops = path.startswith("/ops/")
        told = []
        for each in (identity, "pay_" + uuid.uuid4().hex):
            where = filled(path, each)
            if at_ops:
                told.append(plain(api.get(where) if method == "GET" else api.post(where, example(operation))))
            else:
                told.append(plain(person.open(method, where, data=json.dumps(example(operation) or {}))))
        assert told[0] == told[1]
        assert told[0][0] in (401, 403), (method, path, told[0])
