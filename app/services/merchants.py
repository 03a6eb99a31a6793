"""Creates and lists merchants, the tenants of everything else."""

from __future__ import annotations

from app.db.pool import Row, Tx
from app.errors import Invalid, NotFound

NAME_LENGTH = 200


def create(tx: Tx, name: str) -> Row:
    """A new active merchant. Raises Invalid when the name is blank or over 200 characters."""
    name = name.strip()
    if not name or len(name) > NAME_LENGTH:
        raise Invalid(f"a merchant's name has 1 to {NAME_LENGTH} characters")
    merchant = tx.one("merchants.create", name=name)
    assert merchant is not None, "insert returning returns its row"
    return merchant


def get(tx: Tx, merchant_id: object) -> Row:
    """One merchant. Raises NotFound."""
    merchant = tx.one("merchants.get", merchant_id=merchant_id)
    if merchant is None:
        raise NotFound(f"there is no merchant {merchant_id}")
    return merchant


def newest(tx: Tx, *, limit: int) -> list[Row]:
    """Merchants, newest first, without the platform."""
    return tx.all("merchants.newest", limit=limit)
