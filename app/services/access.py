"""Notes what an operator was shown, in the transaction that showed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.config import PLATFORM_MERCHANT_ID
from app.db import Tx
from app.services.sign_in import Person


def note(
    tx: Tx,
    person: Person,
    *,
    route: str,
    entity: str | None,
    result: str,
    seen: Mapping[Any, int],
    address: str | None,
    request_id: str,
) -> None:
    """One row per merchant in `seen`, with how many of its rows; the platform's when none of anybody's was shown."""
    counts = dict(seen) or {PLATFORM_MERCHANT_ID: 0}
    tx.run(
        "access_log.note",
        operator=person.name,
        role=person.role.value,
        address=address,
        request_id=request_id,
        route=route,
        entity=entity,
        result=result,
        merchant_ids=list(counts),
        row_counts=list(counts.values()),
    )
