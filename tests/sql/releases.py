"""A release that a test may change, and a database that has seen none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import SQL_DIR
from app.db import scripts
from cli.dev.postgres import Cluster
from tests.fixtures.database import Clone, clone


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[Clone]:
    """A database that has never been migrated."""
    yield from clone(cluster, "template0")


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sql/ that the runner reads and a test may change."""
    copied = tmp_path / "sql"
    shutil.copytree(SQL_DIR, copied)
    monkeypatch.setattr(scripts, "SQL_DIR", copied)
    return copied


def add_migration(release: Path, text: str) -> str:
    """Write the next migration; returns its name."""
    number = len(list((release / "migrations").glob("*.sql"))) + 1
    path = release / "migrations" / f"{number:04d}_added.sql"
    path.write_text(text)
    return f"migrations/{path.name}"


def exists(database: Clone, relation: str) -> bool:
    row = database.connect(admin=True).execute("select to_regclass(%s) is not null as found", [relation]).fetchone()
    return row == {"found": True}
