"""Pays merchants what they have (J9), holds back a reserve or lets it go (J10); the database says what may be spent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.db import Tx
from app.db.pool import Row
from app.errors import Invalid, NotFound
from app.services import merchants

STATUSES = ("requested", "paid", "returned")
# Every amount that JSON can carry as an integer.
_LARGEST = 2**53 - 1
# More than there are.
_CURRENCIES = 1_000


def request(tx: Tx, merchant_id: UUID, *, amount: int, currency: str, reason: str) -> Row:
    """`amount` minor units of the merchant's available money are on their way to its bank.

    Raises NotFound, Invalid, NotEnough, and BooksOutOfBalance while the merchant's books do not sum to zero.
    """
    merchants.get(tx, merchant_id)
    row = tx.one("merchant_payouts.request", **_sum(merchant_id, amount, currency), reason=reason)
    assert row is not None, "a request is a row or an error"
    return row


def paid(tx: Tx, payout_id: UUID, *, bank_account: str, bank_ref: str, reason: str) -> Row:
    """It left our `bank_account` by the bank's line `bank_ref`. Raises NotFound, IllegalTransition, BankLineUsed."""
    return _end(tx, payout_id, "paid", bank_account=bank_account, bank_ref=bank_ref, reason=reason)


def returned(tx: Tx, payout_id: UUID, *, reason: str) -> Row:
    """The bank did not take it, or sent it back: the merchant has it again. Raises NotFound, IllegalTransition."""
    return _end(tx, payout_id, "returned", bank_account=None, bank_ref=None, reason=reason)


def _end(tx: Tx, payout_id: UUID, status: str, **words: Any) -> Row:
    found, _ = get(tx, payout_id)
    row = tx.one("merchant_payouts.end", merchant_id=found["merchant_id"], id=payout_id, status=status, **words)
    assert row is not None, "it was just found"
    return row


def find(tx: Tx, *, merchant_id: UUID | None = None, status: str | None = None, limit: int) -> list[Row]:
    """Newest first."""
    return tx.all("merchant_payouts.find", id=None, merchant_id=merchant_id, status=status, limit=limit)


def get(tx: Tx, payout_id: UUID) -> tuple[Row, list[Row]]:
    """One, and the entries it posted. Raises NotFound."""
    row = tx.one("merchant_payouts.find", id=payout_id, merchant_id=None, status=None, limit=1)
    if row is None:
        raise NotFound(f"there is no merchant payout {payout_id}")
    return row, tx.all("merchant_payouts.entries", merchant_id=row["merchant_id"], id=payout_id)


def hold(tx: Tx, merchant_id: UUID, *, amount: int, currency: str, reason: str) -> UUID:
    """Available money is held back; returns the entry. Raises NotFound, Invalid, NotEnough."""
    return _reserve(tx, merchant_id, "reserve_held", amount, currency, reason)


def release(tx: Tx, merchant_id: UUID, *, amount: int, currency: str, reason: str) -> UUID:
    """Of what is held back so much is available again; returns the entry. Raises NotFound, Invalid, NotEnough."""
    return _reserve(tx, merchant_id, "reserve_released", amount, currency, reason)


def _reserve(tx: Tx, merchant_id: UUID, kind: str, amount: int, currency: str, reason: str) -> UUID:
    merchants.get(tx, merchant_id)
    moved = _sum(merchant_id, amount, currency)
    row = tx.one("merchant_payouts.move_reserve", **moved, kind=kind, reason=reason)
    assert row is not None, "a reserve is moved or an error"
    return UUID(str(row["entry_id"]))


def debts(tx: Tx, *, limit: int) -> list[Row]:
    """Who has less than nothing available, because refunds and disputes took more than there was; the most first."""
    return tx.all("merchant_payouts.debts", merchant_id=None, limit=limit)


def debts_of(tx: Tx, merchant_id: UUID) -> list[Row]:
    """What one merchant owes us, by currency. Raises NotFound."""
    merchants.get(tx, merchant_id)
    return tx.all("merchant_payouts.debts", merchant_id=merchant_id, limit=_CURRENCIES)


def write_off_debt(tx: Tx, merchant_id: UUID, *, amount: int, currency: str, reason: str) -> UUID:
    """So much of what a merchant owes us is a loss (J11); returns the entry.

    Raises OverDebt, and TakesTwo unless two people have agreed to exactly this.
    """
    row = tx.one("merchant_payouts.write_off_debt", **_sum(merchant_id, amount, currency), reason=reason)
    assert row is not None, "a debt is written off or an error"
    return UUID(str(row["entry_id"]))


def _sum(merchant_id: UUID, amount: int, currency: str) -> dict[str, Any]:
    if not 0 < amount <= _LARGEST:
        raise Invalid(f"an amount is between 1 and {_LARGEST} minor units")
    return {"merchant_id": merchant_id, "amount": amount, "currency": currency.lower()}
