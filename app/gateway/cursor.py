"""Opaque cursors: a position and no permission, what they lead to is filtered by merchant anyway."""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import datetime
from uuid import UUID

from app.errors import Invalid
from app.services.events import Position
from app.services.ledger import LinePosition

# The longest one we make is under 100 characters.
MAX_LENGTH = 200

# What a row is named by; the list of keys goes by the id of one, which is no UUID.
_UUID, _KEY_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), re.compile(r"[0-9a-f]{16}")
_XID = re.compile(r"[0-9]{1,18}")


def after_payment(created_at: datetime, payment_id: UUID) -> str:
    return after_child("p", created_at, payment_id)


def payment_position(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Where `after_payment` pointed. Raises Invalid."""
    return child_position("p", cursor)


def after_child(kind: str, created_at: datetime, row_id: UUID) -> str:
    """After a refund or dispute, newest first; `kind` keeps the lists apart."""
    return _encode(kind, created_at.isoformat(), row_id.hex)


def child_position(kind: str, cursor: str | None) -> tuple[datetime, UUID] | None:
    """Where `after_child` pointed. Raises Invalid."""
    if cursor is None:
        return None
    created_at, identity = _decode(cursor, kind, 2)
    try:
        at = datetime.fromisoformat(created_at)
        if at.utcoffset() is None:
            raise ValueError("no offset")
        return at, UUID(hex=identity)
    except ValueError:
        raise _not_ours() from None


def after_event(position: Position) -> str:
    return _encode("e", str(position.epoch), str(position.xid), position.event_id.hex)


def event_position(cursor: str | None) -> Position:
    """Where `after_event` pointed, or before everything. Raises Invalid."""
    if cursor is None:
        return Position()
    epoch, xid, identity = _decode(cursor, "e", 3)
    if not _XID.fullmatch(epoch) or not _XID.fullmatch(xid) or int(epoch) >= 2**31:
        raise _not_ours()
    try:
        return Position(int(epoch), int(xid), UUID(hex=identity))
    except ValueError:
        raise _not_ours() from None


def after_line(position: LinePosition) -> str:
    return _encode("l", str(position.epoch), str(position.xid), position.entry_id.hex, str(position.line))


def line_position(cursor: str | None) -> LinePosition:
    """Where `after_line` pointed, or before everything. Raises Invalid."""
    if cursor is None:
        return LinePosition()
    epoch, xid, identity, line = _decode(cursor, "l", 4)
    if not all(_XID.fullmatch(number) for number in (epoch, xid, line)) or max(int(epoch), int(line)) >= 2**31:
        raise _not_ours()
    try:
        return LinePosition(int(epoch), int(xid), UUID(hex=identity), int(line))
    except ValueError:
        raise _not_ours() from None


def after_row(kind: str, at: datetime, identity: str) -> str:
    """After a row of an operators' list; `kind` is the list's."""
    return _encode(f"o/{kind}", at.isoformat(), identity)


def row_position(cursor: str | None, kind: str) -> tuple[datetime, str] | None:
    """Where `after_row` pointed in this list. Raises Invalid."""
    if cursor is None:
        return None
    moment, identity = _decode(cursor, f"o/{kind}", 2)
    form = _KEY_ID if kind == "keys" else _UUID
    try:
        at = datetime.fromisoformat(moment)
        if at.utcoffset() is None or not form.fullmatch(identity):
            raise ValueError("no offset, or no id")
        return at, identity
    except ValueError:
        raise _not_ours() from None


def _encode(*parts: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(cursor: str, kind: str, count: int) -> list[str]:
    if len(cursor) > MAX_LENGTH:
        raise _not_ours()
    try:
        parts = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise _not_ours() from None
    if not isinstance(parts, list) or len(parts) != count + 1 or not all(isinstance(part, str) for part in parts):
        raise _not_ours()
    if parts[0] != kind:
        raise _not_ours()
    return parts[1:]


def _not_ours() -> Invalid:
    detail = "This is no cursor of this list."
    return Invalid(errors=[{"pointer": "/cursor", "code": "invalid", "detail": detail}])
