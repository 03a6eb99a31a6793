"""The versions of a payment that a caller decided on, compared under its lock."""

from __future__ import annotations

from app.db.pool import Row
from app.errors import VersionChanged

# None: any will do.
Versions = frozenset[int] | None


def hold(payment: Row, versions: Versions) -> None:
    """What the caller saw is what is acted on: `payment` is locked. Raises VersionChanged."""
    if versions is not None and payment["version"] not in versions:
        raise VersionChanged()
