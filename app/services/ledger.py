"""Posts the books and reads them; what an entry must be is the database's rule, its lines are in sql/queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.config import PLATFORM_MERCHANT_ID
from app.db import Tx
from app.db.pool import Row
from app.errors import IllegalTransition, NotFound
from app.services.authentication import Caller

# Sorts before every entry there can be.
_FIRST = UUID(int=0)
_OF_MERCHANT = "merchant:"


def credit_merchant(tx: Tx, merchant_id: Any, payment_id: Any) -> None:
    """The credit of a confirmed payment (J1), with our fee, once. The payment's lock is held; `close` follows."""
    tx.run("ledger.credit_merchant", merchant_id=merchant_id, payment_id=payment_id)


def release_funds(tx: Tx, merchant_id: Any, payment_id: Any) -> None:
    """J2: the payment's pending money is available, once per payment. The payment's lock is held; `close` follows."""
    tx.run("ledger.release_funds", merchant_id=merchant_id, payment_id=payment_id)


def post_fact(tx: Tx, merchant_id: Any, event_id: Any) -> None:
    """The provider's side of a fact.* event, from the fact as the event tells it; `close` follows."""
    tx.run("ledger.post_fact", merchant_id=merchant_id, event_id=event_id)


def post_payout(tx: Tx, merchant_id: Any, event_id: Any) -> None:
    """A payout reached our bank, or came back after it had: from the payout.* event that tells it; `close` follows."""
    tx.run("payouts.post", merchant_id=merchant_id, event_id=event_id)


def post_refund(tx: Tx, merchant_id: Any, event_id: Any) -> None:
    """J3, J4 or J5 of a refund.* event, each once. The payment's lock is held; `close` follows."""
    tx.run("journals.post_refund", merchant_id=merchant_id, event_id=event_id)


def post_dispute(tx: Tx, merchant_id: Any, event_id: Any) -> None:
    """J6 or J7 of a dispute.funds_* event, once per money line. The payment's lock is held; `close` follows."""
    tx.run("journals.post_dispute", merchant_id=merchant_id, event_id=event_id)


def post_children(tx: Tx, merchant_id: Any, payment_id: Any) -> None:
    """J3 to J7 of everything that refunds and disputes of this payment have told; what was posted stays as it is."""
    for told in tx.all("journals.told_by_children", merchant_id=merchant_id, payment_id=payment_id):
        tx.run(f"journals.{told['handler']}", merchant_id=merchant_id, event_id=told["event_id"])


def close(tx: Tx) -> None:
    """Move what this transaction posted into the merchants' balances; once, after the last posting."""
    tx.run("ledger.close")


def balance(tx: Tx, caller: Caller) -> list[Row]:
    """What the merchant has by account code and currency, in minor units; credit is negative, as in the books."""
    return tx.all("ledger.balance", merchant_id=caller.merchant_id)


@dataclass(frozen=True)
class LinePosition:
    """The last line seen; transaction ids compare only within one epoch."""

    epoch: int = 0
    xid: int = 0
    entry_id: UUID = _FIRST
    line: int = 0


def feed(tx: Tx, caller: Caller, *, after: LinePosition, limit: int) -> list[Row]:
    """Up to `limit` lines on the merchant's own accounts after this position, late by open transactions, lost never."""
    return tx.all(
        "ledger.feed",
        merchant_id=caller.merchant_id,
        epoch=after.epoch,
        xid=str(after.xid),
        entry_id=after.entry_id,
        line=after.line,
        limit=limit,
    )


def trial_balance(
    tx: Tx, *, merchant_id: UUID | None = None, until: datetime | None = None
) -> tuple[list[Row], dict[str, int]]:
    """The accounts by currency, of all or of one merchant, and the control total per currency over all: zero."""
    rows = tx.all("ledger.trial_balance", merchant_id=merchant_id, until=until)
    totals = tx.all("ledger.control_total", until=until)
    return rows, {row["currency"]: row["total"] for row in totals}


def account(tx: Tx, name: str, *, payment_id: UUID | None = None, limit: int) -> tuple[Row, list[Row]]:
    """The account called `name` (clearing:stripe, merchant:{id}:pending) and its newest lines. Raises NotFound."""
    owner, code = _owner_and_code(name)
    found = tx.one("ledger.account", merchant_id=owner, code=code)
    if found is None:
        raise NotFound(f"nothing was ever posted to an account {name}")
    return found, tx.all("ledger.account_lines", account_id=found["id"], payment_id=payment_id, limit=limit)


def _owner_and_code(name: str) -> tuple[str, str]:
    if not name.startswith(_OF_MERCHANT):
        return PLATFORM_MERCHANT_ID, name
    owner, _, rest = name.removeprefix(_OF_MERCHANT).partition(":")
    try:
        return str(UUID(owner)), _OF_MERCHANT + rest
    except ValueError:
        raise NotFound("a merchant's account is called merchant:{id}:pending, :available or :reserve") from None


def entry(tx: Tx, entry_id: UUID) -> tuple[Row, list[Row]]:
    """One entry and its lines. Raises NotFound."""
    found = tx.one("ledger.entry", entry_id=entry_id)
    if found is None:
        raise NotFound(f"there is no ledger entry {entry_id}")
    return found, tx.all("ledger.entry_lines", merchant_id=found["merchant_id"], entry_id=entry_id)


def reverse(tx: Tx, entry_id: UUID, *, reason: str) -> UUID:
    """Post the opposite of an entry; returns the new entry. Raises NotFound, IllegalTransition when it was reversed."""
    found, _ = entry(tx, entry_id)
    made = tx.one("ledger.reverse", merchant_id=found["merchant_id"], entry_id=entry_id, reason=reason)
    if made is None or made["entry_id"] is None:
        raise IllegalTransition(f"entry {entry_id} was reversed before")
    return UUID(str(made["entry_id"]))
