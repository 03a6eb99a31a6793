"""How the command line shows things: rich tables for people, JSON for machines, every time in UTC."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Wide enough for two ids in a row, when no terminal sets the width.
PIPED_WIDTH = 200
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def print_json(value: object) -> None:
    """One JSON document: times as ISO 8601 in UTC, ids as text, bytes as hex."""
    click.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, empty: str, title: str = "") -> None:
    """A table with these columns (key -> heading); one dim line when there is nothing to show."""
    console = console_out()
    if not rows:
        console.print(empty, style="dim")
        return
    console.print(table_of(rows, columns, title=title))


def table_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, title: str = "") -> Table:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(text(row[key])) for key in columns))
    return table


def print_facts(facts: Mapping[str, Any]) -> None:
    """One thing's facts, a line each; what is not set is left out."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            grid.add_row(name.replace("_", " "), escape(text(value)))
    console_out().print(grid)


def text(value: object) -> str:
    """One cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, dict | list):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return str(value)


def money(amount: int | None, currency: str, exponent: int) -> str | None:
    """Minor units as people write them, by integers alone: 1050, usd, 2 is `10.50 usd`."""
    if amount is None:
        return None
    if exponent == 0:
        return f"{amount} {currency}"
    whole, rest = divmod(abs(amount), 10**exponent)
    return f"{'-' if amount < 0 else ''}{whole}.{rest:0{exponent}d} {currency}"


def age(seconds: float | Decimal | None) -> str | None:
    """Seconds as one short word: 45 s, 3 m, 2 h, 5 d."""
    if seconds is None:
        return None
    whole = int(seconds)
    for size, unit in _UNITS:
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def console_out() -> Console:
    """Where tables go: wide enough for ids when nobody's terminal sets the width."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)
