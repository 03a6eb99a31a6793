"""Tells whose API key it is; the secret itself is only ever compared as an HMAC, in constant time."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from uuid import UUID

from app.db import Tx
from app.db.pool import Row
from app.errors import ScopeMissing, Unauthenticated
from app.model.api_key import ApiKey
from app.model.scope import Scope

# Compared against when there is no such key, so that an unknown id takes as long as a wrong secret.
_NOBODY = bytes(32)


@dataclass(frozen=True)
class Caller:
    """The merchant behind a request; a test key sees and makes test payments only."""

    merchant_id: UUID
    key_id: str
    livemode: bool
    scopes: frozenset[str] = frozenset()


def authenticate(tx: Tx, key: ApiKey, *, pepper: str, address: str | None = None) -> Caller:
    """The holder of `key`, whose merchant the transaction carries from here on. Raises Unauthenticated.

    `address` is where the request came from; a key that is bound to networks is no key elsewhere.
    """
    return recognise(key, tx.one("api_keys.authenticate", key_id=key.id, address=address), pepper=pepper)


def recognise(key: ApiKey, row: Row | None, *, pepper: str) -> Caller:
    """The holder of `key`, if `row` is what is stored of it. Raises Unauthenticated."""
    matches = hmac.compare_digest(key.hmac(pepper), row["secret_hmac"] if row else _NOBODY)
    if row is None or not matches or row["livemode"] != key.livemode:
        raise Unauthenticated()
    return Caller(row["merchant_id"], key.id, key.livemode, frozenset(row["scopes"]))


def require(caller: Caller, scope: Scope) -> None:
    """Raises ScopeMissing unless the caller's key carries `scope`."""
    if scope not in caller.scopes:
        raise ScopeMissing(f"This needs a key with the scope {scope.value}.")
