"""Lets a writing request in: who asks, and whether its Idempotency-Key is new, as its transaction begins."""

from __future__ import annotations

from app.db import Tx
from app.db.pool import Opening
from app.errors import KeyInUse
from app.model.api_key import ApiKey
from app.services import idempotency
from app.services.authentication import Caller, recognise
from app.services.idempotency import Stored


def opening(key: ApiKey, *, address: str | None, idempotency_key: str, fingerprint: bytes) -> Opening:
    """What `admit` has to be asked of the database; KeyInUse when another request holds its key for too long.

    The key is claimed before the secret is compared: who got here has paid a token with it.
    """
    return Opening(
        "idempotency_keys.admit",
        {"key_id": key.id, "address": address, "key": idempotency_key, "fingerprint": fingerprint},
        busy=KeyInUse,
    )


def admit(
    tx: Tx, key: ApiKey, *, pepper: str, idempotency_key: str, fingerprint: bytes
) -> tuple[Caller, Stored | None]:
    """The caller, whose merchant the transaction carries from here on, and what answered this key before, if anything.

    The transaction was opened with `opening`. Raises Unauthenticated, KeyInUse, KeyReused.
    """
    row = next(iter(tx.opened), None)
    caller = recognise(key, row, pepper=pepper)
    assert row is not None, "who is recognised has a row"
    return caller, None if row["claimed"] else idempotency.find(tx, caller.merchant_id, idempotency_key, fingerprint)
