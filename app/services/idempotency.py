"""One answer per Idempotency-Key: claimed before the work, stored with it, and kept only if the work commits."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from psycopg.errors import LockNotAvailable

from app.db import Tx
from app.errors import KeyInUse, KeyReused


@dataclass(frozen=True)
class Stored:
    """The answer of the request that used the key first."""

    status: int
    body: bytes


def claim(tx: Tx, merchant_id: UUID, key: str, fingerprint: bytes) -> Stored | None:
    """None when the key is this transaction's now; else what answered it before.

    Waits for a transaction that holds the key, as long as the transaction's lock_timeout allows. Raises KeyInUse when
    that passes, KeyReused when the key answered another request. `fingerprint` is 32 bytes.
    """
    try:
        owned = tx.run("idempotency_keys.claim", merchant_id=merchant_id, key=key, fingerprint=fingerprint)
    except LockNotAvailable:
        raise KeyInUse() from None
    return None if owned else find(tx, merchant_id, key, fingerprint)


def find(tx: Tx, merchant_id: UUID, key: str, fingerprint: bytes) -> Stored:
    """What answered a key that another transaction owns. Raises KeyReused when it answered another request.

    A statement of its own after the claim: only a new snapshot sees what the other committed while we waited.
    """
    stored = tx.one("idempotency_keys.find", merchant_id=merchant_id, key=key)
    if stored is None or stored["status"] is None:
        raise KeyInUse()  # expired between the two statements: the next try will own it
    if stored["fingerprint"] != fingerprint:
        raise KeyReused()
    return Stored(stored["status"], stored["body"])


def keep(tx: Tx, merchant_id: UUID, key: str, *, status: int, body: bytes) -> None:
    """Store the answer with the claim of this transaction, at its end; both become visible with the work itself."""
    tx.run_last("idempotency_keys.keep", merchant_id=merchant_id, key=key, status=status, body=body)
