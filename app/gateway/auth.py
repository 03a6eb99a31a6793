"""Reads the bearer key of a request; whose it is only the database can tell (services.authentication)."""

from __future__ import annotations

from app.errors import Unauthenticated
from app.model.api_key import ApiKey, parse_key

CHALLENGE = 'Bearer realm="postbox"'
# `__Host-`: set by us alone, over TLS alone, for the whole host and no other.
SESSION_COOKIE = "__Host-postbox_session"
SESSION_CHALLENGE = f'Cookie realm="postbox operators", cookie-name="{SESSION_COOKIE}"'


def bearer_key(authorization: str | None) -> ApiKey:
    """The key in `Authorization: Bearer pb_...`. Raises Unauthenticated, the same for every way to be wrong."""
    scheme, _, text = (authorization or "").partition(" ")
    key = parse_key(text.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        raise Unauthenticated()
    return key
