"""The command line as a person has it: `postbox("payments", "list")` on this test's own database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner

from app.model import second_factor
from cli.main import main
from tests.fixtures.cluster import UNSAFE
from tests.fixtures.database import KEY_PEPPER, OPERATOR_KEY, Clone


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended."""

    out: str
    err: str
    code: int

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Postbox = Callable[..., Answer]


@pytest.fixture
def postbox(database: Clone) -> Postbox:
    """Run a command as the operator `ann`, who types `typed`; any exception but an exit is the test's."""
    env = {
        **UNSAFE,
        "DATABASE_URL": database.url,
        "POSTBOX_MIGRATION_URL": database.admin_url,
        "POSTBOX_KEY_PEPPER": KEY_PEPPER,
        "POSTBOX_OPERATOR_KEY": OPERATOR_KEY,
        "POSTBOX_OPERATOR": "ann",
    }

    def run(*arguments: object, typed: str | None = None, **other: str | None) -> Answer:
        result = CliRunner().invoke(main, [str(part) for part in arguments], env={**env, **other}, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.stdout, result.stderr, result.exit_code)

    return run


@dataclass
class Keyboard:
    """Signs a person in at the command line, up to twice: a code works once, and the next one is taken as well."""

    postbox: Postbox
    name: str
    password: str
    secret: str
    signed_in: int = 0

    def __call__(self, *arguments: object) -> Answer:
        code = second_factor.code(self.secret, time.time() + self.signed_in * second_factor.STEP_SECONDS)
        self.signed_in += 1
        assert self.signed_in <= 1 + second_factor.TOLERANCE, "one more would have to wait for half a minute"
        return self.postbox(*arguments, "--operator", self.name, typed=f"{self.password}\n{code}\n")


@pytest.fixture
def person(postbox: Postbox) -> Callable[..., Keyboard]:
    """Enrolls somebody, who signs in for each command."""

    def enroll(name: str, role: str) -> Keyboard:
        shown = postbox("operators", "create", name, "--role", role, "--json").json
        return Keyboard(postbox, name, shown["password"], shown["totp_secret"])

    return enroll
