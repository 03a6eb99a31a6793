"""SQL lives in sql/: none in Python, every named query is used and every used name exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from app.config import ROOT
from app.db import QUERIES

SOURCES = [path for folder in ("app", "jobs", "cli") for path in sorted((ROOT / folder).rglob("*.py"))]
# Statements about roles, databases and sessions, made of names that no parameter can carry.
EXCEPTIONS = {
    "app/db/concurrently.py": r"set |reset |drop index concurrently |reindex index concurrently ",
    "app/db/migrate.py": r"set |select pg_(try_)?advisory|create or replace function current_epoch|grant ",
    "cli/dev/database.py": r"create role|alter role|create database|select .*from pg_(roles|database)",
    "jobs/queue.py": r"listen ",
}

STATEMENT = re.compile(
    r"^\s*(select\s.+|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|merge\s+into\s|with\s+\w+\s+as\s*\(|truncate\s"
    r"|create\s+(or\s+replace\s+)?(table|function|trigger|index|view|role|database|schema)\s|alter\s+(table|role|database)\s"
    r"|drop\s+\w+\s|grant\s+\w+\s+(on|to)\s|set\s+(local\s+)?(role|session)\b|listen\s|notify\s|copy\s+\w+\s+(from|to)\b)",
    re.IGNORECASE | re.DOTALL,
)
NAME = re.compile(r"^[a-z_]+\.[a-z_]+$")


def strings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every string constant that is no docstring."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body and isinstance(node.body[0], ast.Expr)
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_sql_is_written_in_python(path: Path) -> None:
    allowed = EXCEPTIONS.get(path.relative_to(ROOT).as_posix(), "(?!)")
    found = [n for n in strings(parse(path)) if is_statement(n.value) and not re.match(allowed, n.value.strip() + " ")]
    assert [f"line {n.lineno}: {n.value[:60]}" for n in found] == []


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_statement(text: str) -> bool:
    """A sentence may begin with "select"; a statement also has what SQL has."""
    return bool(STATEMENT.match(text)) and not text.rstrip().endswith(".")


@pytest.mark.parametrize(
    "text", ["select 1 from payments", "update payments set state = 'x'", "with a as (select 1) select", "listen x"]
)
def test_the_search_would_find_a_statement(text: str) -> None:
    assert is_statement(text)


@cache
def used_names() -> dict[str, str]:
    """Every string that names a query of a file in sql/queries, with where it stands."""
    files = {name.split(".")[0] for name in QUERIES}
    return {
        node.value: f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in strings(parse(path))
        if NAME.match(node.value) and node.value.split(".")[0] in files
    }


# Read through a prefix: QUERIES[f"checks.{name}"] and the like.
PREFIX = re.compile(r'f"(?P<file>[a-z_]+)\.\{|startswith\("(?P<start>[a-z_]+)\."')


@cache
def prefixes() -> set[str]:
    found = (match for path in SOURCES for match in PREFIX.finditer(path.read_text(encoding="utf-8")))
    return {match["file"] or match["start"] for match in found}


def test_every_named_query_is_used() -> None:
    unused = {name for name in QUERIES if name not in used_names() and name.split(".")[0] not in prefixes()}
    assert unused == set()


def test_every_used_query_exists() -> None:
    topics = re.compile(r"^(payment|operation|webhook|refund|dispute)\.")
    missing = {
        f"{name} ({where})"
        for name, where in used_names().items()
        if name not in QUERIES and not topics.match(name) and not name.endswith((".sql", ".py"))
    }
    assert missing == set()
