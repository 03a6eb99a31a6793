"""People with roles, signed in, on the application's own database."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from apiflask import APIFlask
from werkzeug.test import TestResponse

from app.config import Settings, Timing
from app.db import Database
from app.gateway.auth import SESSION_COOKIE
from app.gateway.context import EXTENSION
from app.model import password, second_factor
from app.model.operator_role import OperatorRole
from app.services import operators, sign_in
from app.services.operators import Proof
from cli.signed_in import DOOR
from tests import factories
from tests.fixtures.database import OPERATOR_KEY
from tests.gateway.conftest import api, app, login, payment_in, sql

__all__ = ["api", "app", "login", "payment_in", "sql"]

_numbers = itertools.count()

ORIGIN = "http://localhost"


@dataclass
class Desk:
    """One person's browser: it sends the cookie it holds, where it is, and what our page read."""

    app: APIFlask
    name: str
    token: str = field(repr=False)

    def headers(self, **other: str) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in other.items()}
        return {
            "Cookie": f"{SESSION_COOKIE}={self.token}",
            "Origin": ORIGIN,
            "X-CSRF-Token": sign_in.csrf_token(self.token, OPERATOR_KEY),
            "Idempotency-Key": f"desk-{next(_numbers)}",
            "Content-Type": "application/json",
        } | named

    def get(self, path: str, **query: Any) -> TestResponse:
        return self.open("GET", path, query_string=query)

    def post(self, path: str, body: Any = None, **headers: str) -> TestResponse:
        return self.open("POST", path, data=json.dumps(body or {}), headers=self.headers(**headers))

    def open(self, method: str, path: str, **more: Any) -> TestResponse:
        more.setdefault("headers", self.headers())
        return self.app.test_client(use_cookies=False).open(path, method=method, **more)


@dataclass
class Enrolled:
    """A person with what they prove who they are with."""

    name: str
    proof: Proof

    def code(self, at: float) -> str:
        return second_factor.code(self.proof.secret, at)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As everywhere, but a person is not idle after a hundredth of half an hour: a loaded machine is that slow."""
    real = Timing()
    patient = replace(settings.timing, session_idle=real.session_idle, session_longest=real.session_longest)
    return replace(settings, timing=patient)


@pytest.fixture
def edge(app: APIFlask) -> Database:
    """The application's own pool, open."""
    return app.extensions[EXTENSION].database.open()


@pytest.fixture
def enroll(edge: Database):
    """Enrolls a person as the command line does."""

    def make(role: str = "operator", name: str | None = None) -> Enrolled:
        proof = operators.new_proof(OPERATOR_KEY)
        name = name or f"{role}-{next(_numbers)}"
        edge.transact(factories.OPERATOR, lambda tx: operators.create(tx, name, role=role, proof=proof))
        return Enrolled(name, proof)

    return make


@pytest.fixture
def move(sql):
    """Sets one of the two clocks of every session back, which nobody but a superuser without triggers can."""

    def back(column: str, seconds: float) -> None:
        sql.execute("alter table operator_sessions disable trigger operator_sessions_500_audit")
        sql.execute(f"update operator_sessions set {column} = clock_timestamp() - make_interval(secs => %s)", [seconds])
        sql.execute("alter table operator_sessions enable always trigger operator_sessions_500_audit")

    return back


def open_session(database: Database, role: str, name: str | None = None) -> str:
    """The token of a new person of a role who is signed in; that they proved who they are is taken for granted."""
    token = sign_in.new_token()
    name = name or f"{role}-{token[:12].lower()}"

    def enroll(tx: Any) -> Any:
        row = tx.one("operators.create", name=name, role=role)
        tx.run("operators.enroll", operator_id=row["id"], password_hash=password.NOBODYS, totp_secret="none")
        return row["id"]

    def let_in(tx: Any) -> None:
        proven = tx.one("operators.begin_sign_in", name=name, address=None)
        hmac = sign_in.token_hmac(token, OPERATOR_KEY)
        sign_in.complete(tx, proven, step=1, password_hash=proven["password_hash"], address=None, hmac=hmac)

    database.transact(factories.OPERATOR, enroll)
    database.transact(DOOR, let_in)
    return token


@pytest.fixture
def desk(app: APIFlask, edge: Database):
    """A person of a role who is signed in."""

    def make(role: str | OperatorRole = "operator") -> Desk:
        name = f"{role}-{next(_numbers)}"
        return Desk(app, name, open_session(edge, str(role), name))

    return make
