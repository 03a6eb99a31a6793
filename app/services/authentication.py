"""Tells whose API key it is; the secret itself is only ever compared as an HMAC, in constant time."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from uuid import UUID

from app.db import Tx
from app.errors import Unauthenticated
from app.model.api_key import ApiKey

# Compared against when there is no such key, so that an unknown id takes as long as a wrong secret.
_NOBODY = bytes(32)


@dataclass(frozen=True)
class Caller:
    """The merchant behind a request; a test key sees and makes test payments only."""

    merchant_id: UUID
    key_id: str
    livemode: bool


def authenticate(tx: Tx, key: ApiKey, *, pepper: str) -> Caller:
    """The holder of `key`, whose merchant the transaction carries from here on. Raises Unauthenticated."""
    row = tx.one("api_keys.authenticate", key_id=key.id)
    matches = hmac.compare_digest(key.hmac(pepper), row["secret_hmac"] if row else _NOBODY)
    if row is None or not matches or row["livemode"] != key.livemode:
        raise Unauthenticated()
    return Caller(row["merchant_id"], key.id, key.livemode)
