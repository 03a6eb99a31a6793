"""Loads the named queries of sql/queries; no SQL is written in Python."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from app.config import SQL_DIR

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\n-- (?P<about>.+)\n", re.MULTILINE)


def load_queries(folder: Path) -> dict[str, str]:
    """`{"payments.lock": "select ..."}` from `-- name: lock` blocks: one file per table, or a folder of files."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.sql")):
        text = path.read_text(encoding="utf-8")
        marks = list(_NAME.finditer(text))
        assert marks, f"{path.name} holds no '-- name:' block followed by a description"
        for mark, following in zip(marks, [*marks[1:], None], strict=True):
            body = text[mark.end() : following.start() if following else len(text)].strip().rstrip(";")
            name = f"{path.relative_to(folder).parts[0].removesuffix('.sql')}.{mark['name']}"
            assert name not in found, f"{name} is defined twice"
            found[name] = body
    return found


QUERIES = load_queries(SQL_DIR / "queries")


def array(ids: Iterable[object]) -> str:
    """An array as PostgreSQL reads it: the driver writes ids one by one, for more than twice as much."""
    return "{" + ",".join("NULL" if one is None else str(one) for one in ids) + "}"
