"""Who may do what: a table kept by hand, of every operation there is, against what the server does to everybody."""

from __future__ import annotations

import itertools
import re

import pytest

from app.gateway.errors import template
from app.model.operator_role import OperatorRole
from app.model.scope import ALL_SCOPES
from tests.gateway.ops.conftest import ORIGIN, Desk

NOBODY = "nobody"
VIEWER, OPERATOR, APPROVER, ADMIN, COMPLIANCE = OperatorRole
EVERYBODY = {NOBODY, *OperatorRole, *ALL_SCOPES}
SIGNED_IN = set(OperatorRole)
HANDLERS = {OPERATOR, ADMIN}
DECIDERS = {APPROVER, ADMIN}
ADMINS = {ADMIN}

# A new operation says here who may do it; each scope is a key that carries it and no other.
MATRIX: dict[str, set[str]] = {
    "POST /v1/payments": {"payments:write"},
    "GET /v1/payments": {"payments:read"},
    "GET /v1/payments/{payment_id}": {"payments:read"},
    "GET /v1/payments/{payment_id}/timeline": {"payments:read"},
    "POST /v1/payments/{payment_id}/capture": {"payments:write"},
    "POST /v1/payments/{payment_id}/cancel": {"payments:write"},
    "POST /v1/payments/{payment_id}/refunds": {"refunds:write"},
    "GET /v1/refunds": {"refunds:read"},
    "GET /v1/refunds/{refund_id}": {"refunds:read"},
    "GET /v1/disputes": {"disputes:read"},
    "GET /v1/disputes/{dispute_id}": {"disputes:read"},
    "GET /v1/balance": {"balance:read"},
    "GET /v1/balance/entries": {"balance:read"},
    "GET /v1/events": {"events:read"},
    "POST /webhooks/stripe/{account}": EVERYBODY,
    "GET /healthz": EVERYBODY,
    "GET /readyz": EVERYBODY,
    "GET /metrics": EVERYBODY,
    "GET /openapi.json": EVERYBODY,
    "GET /docs": EVERYBODY,
    "GET /docs/assets/{name}": EVERYBODY,
    "GET /docs/problems": EVERYBODY,
    "GET /problems/{code}": EVERYBODY,
    "POST /ops/v1/session": EVERYBODY,
    "GET /ops/v1/session": SIGNED_IN,
    "DELETE /ops/v1/session": SIGNED_IN,
    "GET /ops/v1/payments": SIGNED_IN,
    "GET /ops/v1/payments/{payment_id}": SIGNED_IN,
    "GET /ops/v1/payments/{payment_id}/trace": SIGNED_IN,
    "POST /ops/v1/payments/{payment_id}/adopt": HANDLERS,
    "POST /ops/v1/payments/{payment_id}/refunds": HANDLERS,
    "GET /ops/v1/dead-letters": SIGNED_IN,
    "GET /ops/v1/dead-letters/{letter}": SIGNED_IN,
    "POST /ops/v1/dead-letters/{letter}/replay": HANDLERS,
    "POST /ops/v1/dead-letters/{letter}/discard": HANDLERS,
    "GET /ops/v1/webhooks": SIGNED_IN,
    "GET /ops/v1/webhooks/{webhook_id}": SIGNED_IN,
    "POST /ops/v1/webhooks/{webhook_id}/replay": HANDLERS,
    "GET /ops/v1/merchants": SIGNED_IN,
    "POST /ops/v1/merchants": ADMINS,
    "GET /ops/v1/keys": SIGNED_IN,
    "POST /ops/v1/keys": ADMINS,
    "POST /ops/v1/keys/{key_id}/rotate": ADMINS,
    "POST /ops/v1/keys/{key_id}/revoke": ADMINS,
    "GET /ops/v1/status": SIGNED_IN,
    "GET /ops/v1/providers": SIGNED_IN,
    "POST /ops/v1/pauses": HANDLERS,
    "POST /ops/v1/pauses/lift": HANDLERS,
    "GET /ops/v1/proposals": SIGNED_IN,
    "POST /ops/v1/proposals/{proposal_id}/approve": DECIDERS,
    "POST /ops/v1/proposals/{proposal_id}/reject": DECIDERS,
    "GET /ops/v1/discrepancies": SIGNED_IN,
    "POST /ops/v1/discrepancies/{discrepancy_id}/acknowledge": HANDLERS,
    "POST /ops/v1/discrepancies/{discrepancy_id}/resolve": HANDLERS,
    "GET /ops/v1/discrepancies/{discrepancy_id}": SIGNED_IN,
    "POST /ops/v1/discrepancies/{discrepancy_id}/write-off": HANDLERS,
    "POST /ops/v1/discrepancies/{discrepancy_id}/write-off/approve": DECIDERS,
    "GET /ops/v1/operators": SIGNED_IN,
    "GET /ops/v1/access-log": {ADMIN, COMPLIANCE},
}
# How somebody is told that they may not.
CLOSED = {"unauthenticated", "scope_missing", "not_signed_in", "role_refused", "cross_site"}

_numbers = itertools.count()


def operations(app) -> set[str]:
    """Every operation of the URL map, whether the document tells of it or not."""
    return {
        f"{method} {template(rule.rule)}"
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"OPTIONS", "HEAD"}
    }


@pytest.fixture
def credentials(desk, login):
    """The headers of everybody: signed in, with a key of one scope, or with nothing."""
    bare = {"Origin": ORIGIN, "Content-Type": "application/json"}
    people: dict[str, Desk] = {role: desk(role) for role in OperatorRole}
    keys = {scope: login(scopes=[scope]).key.text() for scope in ALL_SCOPES}
    return (
        {NOBODY: bare}
        | {role: person.headers() for role, person in people.items()}
        | {scope: bare | {"Authorization": f"Bearer {key}"} for scope, key in keys.items()}
    )


def is_let_in(app, operation, headers) -> bool:
    method, route = operation.split(" ")
    path = re.sub(r"\{[^}]+\}", "nothing", route)
    named = headers | {"Idempotency-Key": f"matrix-{next(_numbers)}"}
    data = None if method == "GET" else b"{}"
    answer = app.test_client(use_cookies=False).open(path, method=method, data=data, headers=named)
    assert answer.status_code < 500, (operation, answer.text)
    told = answer.get_json(silent=True) or {}
    return (told.get("code") if answer.status_code >= 400 else None) not in CLOSED


def test_the_table_has_every_operation_and_no_other(app):
    assert set(MATRIX) == operations(app)


def test_everybody_may_do_exactly_what_the_table_says(app, credentials):
    wrong = {}
    # signing out comes last: it ends the session that the others need
    for operation in sorted(MATRIX, key=lambda operation: operation.startswith("DELETE")):
        let_in = {who for who, headers in credentials.items() if is_let_in(app, operation, headers)}
        if let_in != MATRIX[operation]:
            wrong[operation] = {"too many": let_in - MATRIX[operation], "missing": MATRIX[operation] - let_in}
    assert wrong == {}
    assert len(credentials) == 1 + len(OperatorRole) + len(ALL_SCOPES)
