"""What a payment must come to, in plain Python, from the provider's own ledger: it knows no snapshot and no row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.sql.test_facts import plain_state

Row = Mapping[str, Any]

# How a PaymentIntent that moved no money looks here; a canceled one depends on why.
OPEN = {"requires_action": "requires_action", "requires_capture": "authorized", "processing": "submitted"}
OVER = ("failed", "canceled")


@dataclass(frozen=True)
class Expected:
    """A payment at rest: its state, its sums, and what each account holds of it; zero is left out."""

    state: str
    captured: int = 0
    refunded: int = 0
    disputed: int = 0
    lost: int = 0
    books: tuple[tuple[str, int], ...] = ()


def expected(payment: Row | None, lines: Iterable[Row]) -> Expected:
    """`payment` of the sandbox's ledger, None when the provider never heard of it; `lines`: its money lines."""
    if payment is None:
        return Expected("canceled")
    lines = list(lines)
    charge = payment["charges"][-1] if payment["charges"] else None
    if payment["status"] != "succeeded":
        declined = charge is not None and charge["status"] == "failed"
        return Expected(OPEN.get(payment["status"]) or ("failed" if declined else "canceled"))
    assert charge is not None, "a payment that succeeded has a charge"
    standing = [refund for refund in payment["refunds"] if refund["status"] not in OVER]
    held = {dispute["id"]: -_sum(lines, "amount", source=dispute["id"]) for dispute in payment["disputes"]}
    lost = sum(held[dispute["id"]] for dispute in payment["disputes"] if dispute["status"] == "lost")
    sums = {
        "captured": charge["amount_captured"],
        "refunded": sum(refund["amount"] for refund in standing if refund["status"] == "succeeded"),
        "disputed": sum(held.values()) - lost,
        "lost": lost,
    }
    available = any(line["source"] == charge["id"] and line["status"] == "available" for line in lines)
    state = plain_state({**sums, "method": "card", "settled": available, "returned": False})
    owed = sums["captured"] - sum(refund["amount"] for refund in standing) - sum(held.values())
    books = {"merchant": -owed, "provider": _sum(lines, "net"), "provider_fees": _sum(lines, "fee")}
    return Expected(state, **sums, books=tuple(sorted((name, held) for name, held in books.items() if held)))


def _sum(lines: Iterable[Row], column: str, **where: object) -> int:
    return sum(line[column] for line in lines if all(line[name] == value for name, value in where.items()))
