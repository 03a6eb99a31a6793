"""What providers charge us, with which their fees are compared, and what we charge merchants, in versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.db import Tx
from app.db.pool import Row
from app.errors import Invalid, NotFound

METHODS = ("card", "us_bank_account", "ach")


def of_providers(tx: Tx) -> list[Row]:
    """What providers have agreed to charge us; without a row their fees are not compared."""
    return tx.all("prices.of_providers")


def set_provider(
    tx: Tx, provider: str, account: str, method: str, currency: str, *, bps: int, fixed: int, reason: str
) -> int:
    """From now on fees are compared with this: basis points and `fixed` minor units.

    Returns how many payments that were flagged by the old price are compared anew.
    """
    row = tx.one(
        "prices.set_provider",
        provider=provider,
        account=account,
        method=method,
        currency=currency.lower(),
        bps=bps,
        fixed=fixed,
        reason=reason,
    )
    assert row is not None, "a price is set or an error"
    return int(row["compared"])


def schedules(tx: Tx) -> list[Row]:
    """Every version of what we charge merchants."""
    return tx.all("prices.schedules")


def add_version(
    tx: Tx,
    name: str,
    *,
    bps: int,
    fixed: Mapping[str, int],
    dispute_fee_bps: int,
    dispute_fee_returned: bool,
    reason: str,
) -> Row:
    """The next version of the schedule `name`; payments that were made before keep theirs. `fixed`: by currency."""
    tx.run("transactions.because", reason=reason)
    row = tx.one(
        "prices.add_version",
        name=name,
        bps=bps,
        dispute_fee_bps=dispute_fee_bps,
        dispute_fee_returned=dispute_fee_returned,
    )
    assert row is not None, "insert returning returns its row"
    for currency, amount in fixed.items():
        tx.run("prices.add_fixed", schedule=row["id"], currency=currency.lower(), amount=amount)
    return row | {"fixed": dict(fixed)}


def assign(tx: Tx, merchant_id: UUID, name: str | None, *, reason: str) -> Row:
    """This merchant's new payments are charged by `name` (None: nothing). Raises NotFound, Invalid."""
    known: set[Any] = {row["name"] for row in schedules(tx)}
    if name is not None and name not in known:
        raise Invalid(f"there is no fee schedule {name}")
    tx.run("transactions.because", reason=reason)
    row = tx.one("prices.assign", merchant_id=merchant_id, name=name)
    if row is None:
        raise NotFound(f"there is no merchant {merchant_id}")
    return row
