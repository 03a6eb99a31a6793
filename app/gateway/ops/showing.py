"""Shows rows to operators as their schemas say: the members a schema names and no others, in JSON's types."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from marshmallow import fields

from app.db.pool import Row
from app.gateway import cursor as cursors
from app.gateway.answers import Answer
from app.gateway.ops.reading import Shown
from app.gateway.representation import instant, listing
from app.model import public_id


def show(schema: type[Answer], row: Row) -> dict[str, Any]:
    """What the schema names of the row: `object` is the schema's own, `payment` is the public form of `payment_id`."""
    return {name: _member(name, field, row) for name, field in schema().fields.items()}


def shown(schema: type[Answer], row: Row) -> Shown:
    """One row as an answer."""
    return Shown(show(schema, row), [row])


def page(schema: type[Answer], kind: str, rows: Sequence[Row], *, at: str, by: str, limit: int | None) -> Shown:
    """A page of rows, newest first; `at` and `by` name the columns it is sorted by. No limit is the whole list."""
    last = rows[-1] if limit is not None and len(rows) == limit else None
    reached = cursors.after_row(kind, last[at], str(last[by])) if last else None
    return Shown(listing([show(schema, row) for row in rows], next_cursor=reached), rows)


def payment_name(row: Row) -> str | None:
    return public_id.show(public_id.PAYMENT, row["payment_id"]) if row.get("payment_id") else None


def uuid_of(text: str) -> UUID | None:
    """The UUID in `text`, or None: then it names nothing."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _member(name: str, field: fields.Field[Any], row: Row) -> Any:
    if name == "object":
        (kind,) = field.metadata["examples"]
        return kind
    if name == "payment":
        return payment_name(row)
    if isinstance(field, fields.Nested):
        nested = field.schema
        assert isinstance(nested, Answer), "an answer is made of answers"
        return None if row[name] is None else show(type(nested), row[name])
    if isinstance(field, fields.List) and isinstance(field.inner, fields.Nested):
        return [show(type(field.inner.schema), part) for part in row[name]]  # type: ignore[arg-type]
    return plain(row[name])


def plain(value: Any) -> Any:
    """A value of a row in JSON's types; moments in UTC."""
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value
