"""Issues, rotates, revokes and lists API keys; the secret leaves once, in the return value of `create` and `rotate`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_network

from app.config import PLATFORM_MERCHANT_ID
from app.db.pool import Row, Tx
from app.errors import Invalid, NotFound
from app.model.api_key import new_key
from app.model.scope import ALL_SCOPES
from app.services import merchants

# A holder has this long to bring a rotated key's successor everywhere; longer and the old one is no longer rotated out.
MAX_OVERLAP_SECONDS = 30 * 86_400
# A list this long is a firewall's business.
MAX_NETWORKS = 50


def create(
    tx: Tx,
    merchant_id: object,
    *,
    label: str,
    livemode: bool,
    pepper: str,
    scopes: Sequence[str] = ALL_SCOPES,
    allowed_from: Sequence[str] = (),
    expires_at: datetime | None = None,
    replaces: str | None = None,
) -> Row:
    """A new key of this merchant, with its only sight of `key`. `allowed_from`: networks, none is everywhere.

    Raises NotFound, Invalid.
    """
    if not pepper:
        raise Invalid("POSTBOX_KEY_PEPPER is not set: keys cannot be hashed without it")
    if str(merchant_id) == PLATFORM_MERCHANT_ID:
        raise Invalid("the platform has no API keys")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise Invalid("a key that has expired already is no use")
    merchants.get(tx, merchant_id)
    key = new_key(livemode=livemode)
    row = tx.one(
        "api_keys.create",
        merchant_id=merchant_id,
        key_id=key.id,
        secret_hmac=key.hmac(pepper),
        label=label.strip(),
        livemode=livemode,
        scopes=_known(scopes),
        allowed_from=_networks(allowed_from),
        expires_at=expires_at,
        replaces=replaces,
    )
    assert row is not None, "insert returning returns its row"
    return {**row, "key": key.text()}


def rotate(tx: Tx, key_id: str, *, overlap: float, reason: str, pepper: str) -> Row:
    """A key that may do the same, as long, in place of this one, which works `overlap` seconds longer.

    Raises NotFound, and Invalid when it is no longer usable, was rotated before, or the overlap is too long.
    """
    if not 0 <= overlap <= MAX_OVERLAP_SECONDS:
        raise Invalid(f"an overlap lasts at most {MAX_OVERLAP_SECONDS // 86_400} days")
    old = get(tx, key_id)
    if old["revoked_at"] is not None or (old["expires_at"] is not None and old["expires_at"] <= datetime.now(UTC)):
        raise Invalid(f"key {key_id} is no longer in use: make a new one")
    if old["replaced_by"] is not None:
        raise Invalid(f"key {key_id} was rotated before, to {old['replaced_by']}")
    tx.run("transactions.because", reason=reason)
    kept = ("label", "livemode", "scopes")
    life = old["expires_at"] - old["created_at"] if old["expires_at"] else None
    made = create(
        tx,
        old["merchant_id"],
        pepper=pepper,
        allowed_from=old["allowed_from"] or (),
        expires_at=datetime.now(UTC) + life if life else None,
        replaces=key_id,
        **{name: old[name] for name in kept},
    )
    ended = tx.one("api_keys.expire_after", merchant_id=old["merchant_id"], key_id=key_id, seconds=overlap)
    assert ended is not None, "the key was just read"
    return made | {"replaced_expires_at": ended["expires_at"]}


def revoke(tx: Tx, key_id: str, *, reason: str) -> Row:
    """End a key's life: requests that carry it are refused. Raises NotFound, Invalid when revoked before."""
    tx.run("transactions.because", reason=reason)
    row = tx.one("api_keys.revoke", key_id=key_id)
    if row is None:
        known = get(tx, key_id)
        raise Invalid(f"key {key_id} was revoked before, at {known['revoked_at']:%Y-%m-%d %H:%M:%S}")
    return row


def get(tx: Tx, key_id: str) -> Row:
    """One key, without its hash. Raises NotFound."""
    row = tx.one("api_keys.get", key_id=key_id)
    if row is None:
        raise NotFound(f"there is no key {key_id}")
    return row


def newest(tx: Tx, *, merchant_id: object | None, limit: int) -> list[Row]:
    """Keys, newest first, without their hashes; `last_used_at` is true to the minute."""
    return tx.all("api_keys.newest", merchant_id=merchant_id, limit=limit)


def _known(scopes: Sequence[str]) -> list[str]:
    unknown = sorted(set(scopes) - set(ALL_SCOPES))
    if unknown or not scopes:
        raise Invalid(f"a key has one scope or more of: {', '.join(ALL_SCOPES)}")
    return [scope for scope in ALL_SCOPES if scope in scopes]


def _networks(texts: Sequence[str]) -> list[str] | None:
    """As the database writes them, or None for everywhere."""
    if len(texts) > MAX_NETWORKS:
        raise Invalid(f"a key is bound to at most {MAX_NETWORKS} networks")
    try:
        return [str(ip_network(text)) for text in texts] or None
    except ValueError:
        raise Invalid("a network is an address, or an address and the length of its prefix: 203.0.113.0/24") from None
