"""Reads the Idempotency-Key and fingerprints the request (draft-ietf-httpapi-idempotency-key-header-07)."""

from __future__ import annotations

import hashlib
import re

from app.errors import KeyMissing
from app.gateway.card_numbers import holds_card_number
from app.gateway.problems import KeyMalformed
from app.gateway.strict_json import canonical

_KEY = re.compile(r"[!-~]{1,255}")


def required_key(header: str | None) -> str:
    """The key as sent. Raises KeyMissing, KeyMalformed."""
    if not header:
        raise KeyMissing()
    # Keys are stored and shown, so they must not be card numbers either.
    if not _KEY.fullmatch(header) or holds_card_number(header):
        raise KeyMalformed()
    return header


def fingerprint(method: str, path: str, body: object) -> bytes:
    """32 bytes that only the same request has: method, path and the body, however it was spelled."""
    return hashlib.sha256(b"\0".join((method.encode(), path.encode(), canonical(body)))).digest()
