"""The command line as a person has it: `postbox("payments", "list")` on this test's own database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner

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
    """Run a command as the operator `ann`; any exception but an exit is the test's."""
    env = {
        **UNSAFE,
        "DATABASE_URL": database.url,
        "POSTBOX_MIGRATION_URL": database.admin_url,
        "POSTBOX_KEY_PEPPER": KEY_PEPPER,
        "POSTBOX_OPERATOR_KEY": OPERATOR_KEY,
        "POSTBOX_OPERATOR": "ann",
    }

    def run(*arguments: object, **other: str | None) -> Answer:
        result = CliRunner().invoke(main, [str(part) for part in arguments], env={**env, **other})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.stdout, result.stderr, result.exit_code)

    return run
