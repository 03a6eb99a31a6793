"""The gateway's fixtures, and somebody whom each security scheme lets in."""

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from tests.contract.fields import Callers, bearer, signature
from tests.gateway.conftest import api, app, login, sql
from tests.gateway.ops.conftest import ORIGIN, desk, edge, settings

__all__ = ["api", "app", "desk", "edge", "login", "settings", "sql"]


@pytest.fixture
def client(app: APIFlask) -> FlaskClient:
    """Sends the cookies it is given and keeps none."""
    return app.test_client(use_cookies=False)


@pytest.fixture
def callers(api, desk) -> Callers:
    """A new scheme needs a line here, and all its bodies are tried."""
    person = desk("admin")
    return {
        "apiKey": lambda raw: bearer(api.key.text()),
        "webhookSignature": lambda raw: {"Stripe-Signature": signature(raw)},
        "session": lambda raw: person.headers(),
        "nobody": lambda raw: {"Origin": ORIGIN},
    }
