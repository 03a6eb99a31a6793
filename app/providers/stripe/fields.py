"""Reads single fields of Stripe's objects, and says Unreadable rather than guess."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from app.providers.stripe.currencies import InexactAmount, from_stripe

REF = re.compile(r"[A-Za-z0-9_]{1,255}")

Json = dict[str, object]


class Unreadable(ValueError):
    """The object is not of the shape or the status that this adapter knows."""


def object_of(value: object, kind: str) -> Json:
    """The body of an object of this kind. Raises Unreadable."""
    if not isinstance(value, dict) or value.get("object") != kind:
        raise Unreadable(f"expected a {kind}")
    return value


def optional(body: Json, name: str) -> Json | None:
    """A nested object, None where there is none."""
    value = body.get(name)
    return value if isinstance(value, dict) else None


def expandable(body: Json, name: str) -> tuple[str | None, Json]:
    """(id, object): an id alone when it was not expanded."""
    value = body.get(name)
    if isinstance(value, dict):
        return ref_of(value), value
    return (value if isinstance(value, str) and REF.fullmatch(value) else None), {}


def ref_of(body: Json) -> str:
    """Stripe's id of the object. Raises Unreadable."""
    ref = body.get("id")
    if not isinstance(ref, str) or not REF.fullmatch(ref):
        raise Unreadable(f"a {body.get('object')} without a usable id")
    return ref


def text_of(body: Json, name: str) -> str:
    """A text that has to be there. Raises Unreadable."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Unreadable(f"a {body.get('object')} without {name}")
    return value


def amount_of(body: Json, name: str, currency: str, *, default: int | None = None) -> int:
    """Minor units of ours. Raises Unreadable."""
    value = body.get(name, default)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(f"a {body.get('object')} whose {name} is no integer")
    try:
        return from_stripe(value, currency)
    except InexactAmount as error:
        raise Unreadable(str(error)) from error


def time_of(body: Json, name: str) -> datetime | None:
    """A moment in UTC, None where there is none. Raises Unreadable."""
    value = body.get(name)
    if value is None:
        return None
    try:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("no integer")
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Unreadable(f"{name} is no time") from error
