"""Renders the product's named queries as a pgbench script, so that both run the same statements."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.db.queries import QUERIES

_PLACEHOLDER = re.compile(r"%\((?P<name>\w+)\)s|%%")


def statement(query: str, **values: str) -> str:
    """A named query with each placeholder replaced by SQL text: a literal or a pgbench variable such as `:id`."""

    def value(match: re.Match[str]) -> str:
        return values[match["name"]] if match["name"] else "%"

    return _PLACEHOLDER.sub(value, QUERIES[query])


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def acting(query: str, actor: Mapping[str, str], **more: str) -> str:
    """`transactions.begin_as` or `.act_as` with an actor; what is not named is empty."""
    names = _PLACEHOLDER.findall(QUERIES[query])
    return statement(query, **{name: actor.get(name, "''") for name in names if name} | more)
