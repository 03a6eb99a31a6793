"""Issues, revokes and lists API keys; the secret leaves once, in the return value of `create`."""

from __future__ import annotations

from app.config import PLATFORM_MERCHANT_ID
from app.db.pool import Row, Tx
from app.errors import Invalid, NotFound
from app.model.api_key import new_key
from app.services import merchants


def create(tx: Tx, merchant_id: object, *, label: str, livemode: bool, pepper: str) -> Row:
    """A new key of this merchant, with its only sight of `key`. Raises NotFound, Invalid."""
    if not pepper:
        raise Invalid("POSTBOX_KEY_PEPPER is not set: keys cannot be hashed without it")
    if str(merchant_id) == PLATFORM_MERCHANT_ID:
        raise Invalid("the platform has no API keys")
    merchants.get(tx, merchant_id)
    key = new_key(livemode=livemode)
    row = tx.one(
        "api_keys.create",
        merchant_id=merchant_id,
        key_id=key.id,
        secret_hmac=key.hmac(pepper),
        label=label.strip(),
        livemode=livemode,
    )
    assert row is not None, "insert returning returns its row"
    return {**row, "key": key.text()}


def revoke(tx: Tx, key_id: str, *, reason: str) -> Row:
    """End a key's life: requests that carry it are refused. Raises NotFound, Invalid when revoked before."""
    tx.run("transactions.because", reason=reason)
    row = tx.one("api_keys.revoke", key_id=key_id)
    if row is None:
        known = tx.one("api_keys.get", key_id=key_id)
        if known is None:
            raise NotFound(f"there is no key {key_id}")
        raise Invalid(f"key {key_id} was revoked before, at {known['revoked_at']:%Y-%m-%d %H:%M:%S}")
    return row


def newest(tx: Tx, *, merchant_id: object | None, limit: int) -> list[Row]:
    """Keys, newest first, without their hashes."""
    return tx.all("api_keys.newest", merchant_id=merchant_id, limit=limit)
