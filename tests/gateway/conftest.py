"""An application on a database of its own, and a client that speaks for one merchant."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.config import Settings
from app.gateway import create_app
from app.gateway.context import EXTENSION
from app.model.api_key import ApiKey
from tests import factories
from tests.fixtures.database import Clone
from tests.gateway.documented import DocumentedClient

_numbers = itertools.count()

CARD = {
    "amount": 1_000, "currency": "usd", "method": {"type": "card", "token": "pm_card_visa"},
    "return_url": factories.RETURN_URL,
}  # fmt: skip


@dataclass
class Api:
    """One merchant's key and a test client; every POST has a fresh Idempotency-Key unless one is given."""

    client: FlaskClient
    merchant_id: UUID
    key: ApiKey = field(repr=False)

    def post(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> TestResponse:
        raw = b"" if body is None else json.dumps(body).encode()
        return self.post_raw(path, raw, key=key, **headers)

    def post_raw(self, path: str, raw: bytes, *, key: str | None = None, **headers: str) -> TestResponse:
        named = {
            "Authorization": f"Bearer {self.key.text()}",
            "Idempotency-Key": key or f"key-{next(_numbers)}",
            "Content-Type": "application/json",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, data=raw, headers=named)

    def get(self, path: str, **query: Any) -> TestResponse:
        return self.client.get(path, query_string=query, headers={"Authorization": f"Bearer {self.key.text()}"})

    def create(self, **changes: Any) -> dict[str, Any]:
        answer = self.post("/v1/payments", CARD | changes)
        assert answer.status_code == 201, answer.text
        return answer.get_json()


@pytest.fixture
def app(settings: Settings):
    yield from made(settings)


def made(settings: Settings):
    """The application, whose answers are held to the document, closed afterwards."""
    app = create_app(settings)
    app.test_client_class = DocumentedClient
    yield app
    edge = app.extensions[EXTENSION]
    edge.door.close()
    edge.waker.close()
    edge.database.close()
    for inbox in edge.inboxes.values():
        inbox.provider.close()


@pytest.fixture
def sql(database: Clone):
    """A superuser's autocommit connection to the application's database."""
    return database.connect(admin=True)


@pytest.fixture
def login(app: APIFlask, sql):
    """Makes a merchant with a key, and returns its Api."""

    def make(**columns: Any) -> Api:
        merchant = factories.merchant(sql)
        return Api(app.test_client(), merchant["id"], factories.api_key(sql, merchant["id"], **columns))

    return make


@pytest.fixture
def api(login) -> Api:
    return login()


@pytest.fixture
def payment_in(sql, api: Api):
    """Takes a payment of the merchant to a state; returns its row and its public id."""

    def make(state: str, **columns: Any):
        row = factories.payment(sql, state, merchant_id=api.merchant_id, **columns)
        return row, f"pay_{row['id'].hex}"

    return make


@pytest.fixture
def still(sql):
    """Time stands still in every bucket: what is there is what was left."""
    sql.execute("""
        create or replace function postbox.tokens_at(
          p_tokens_micro bigint, p_updated_at timestamptz, p_at timestamptz, p_rate bigint, p_burst bigint
        ) returns bigint language sql immutable as 'select p_tokens_micro'
    """)
