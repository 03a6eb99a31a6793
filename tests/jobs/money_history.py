"""A confirmed payment's refunds and dispute in plain Python: what the provider says when, and what must be told.

Stripe's refunds and disputes reduced to the snapshots that the adapter makes of them. `told` is a second, independent
model: it knows what was done to the money and nothing of snapshots, steps, versions or the order of arrival.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

from app.model.snapshot import (
    DisputeSnapshot,
    DisputeStatus,
    Fact,
    ProviderStatus,
    RefundSnapshot,
    RefundStatus,
    Snapshot,
)
from tests.sql.edges import EDGES
from tests.sql.test_facts import plain_state

AMOUNT, PART = 1_000, 400
FEE, DISPUTE_FEE = 59, 1_500
THEN = datetime(2026, 7, 1, tzinfo=UTC)


class Change(StrEnum):
    """One thing that happens to the money; the first of a history is always our confirm."""

    CONFIRM = "confirm"
    SETTLE = "settle"
    PARTIAL = "partial_refund"
    FULL = "full_refund"  # of all that is left
    FAIL = "refund_failed"  # the newest refund that stands
    DISPUTE = "dispute_opened"
    LOST = "lost"
    WON = "won"  # also late
    REOPEN = "reopened"  # the bank takes the money again, or the merchant appeals


C = Change
DISPUTE_CHANGES = frozenset({C.DISPUTE, C.LOST, C.WON, C.REOPEN})


@dataclass(frozen=True)
class History:
    """What happens to one payment at its provider, in this order."""

    changes: tuple[Change, ...]
    method: str = "card"
    capture_method: str = "automatic"

    def __str__(self) -> str:
        return f"{self.method}: {' -> '.join(self.changes)}"

    def to_its_end(self) -> History:
        """This, and then time: what has not become available by then does so last, whatever was lost meanwhile."""
        return self if C.SETTLE in self.changes else replace(self, changes=(*self.changes, C.SETTLE))

    def must_be_seen(self, index: int) -> bool:
        """Asked by test orders of payments before their confirmation; here `vanishes` says it."""
        return False

    def vanishes(self, moved: int) -> bool:
        """Whether the dispute's status must be seen before the next change: nothing will show afterwards that it was.

        A lost dispute that is won, and an appeal that ends, look like a dispute that was never lost or appealed. What
        moved money, and a dispute that is being appealed, tell what was before.
        """
        said = [change for change in self.changes[:moved] if change in DISPUTE_CHANGES]
        after = self.changes[moved]
        if after not in DISPUTE_CHANGES or not said or len(said) < 2:
            return False
        return (said[-1], after) == (C.LOST, C.WON) or (said[-2], said[-1]) == (C.LOST, C.REOPEN)


def following(history: History) -> list[Change]:
    """What can happen next, by Stripe's rules; one dispute, two partial refunds at most.

    Money becomes available while no dispute is open: a loss leaves no time behind, so nothing could tell afterwards
    which of the two came first.
    """
    if not history.changes:
        return [C.CONFIRM]
    done = history.changes
    dispute = [change for change in done if change in DISPUTE_CHANGES]
    standing = _standing(done)
    calm = not dispute or dispute[-1] is C.WON
    found = [C.SETTLE] if calm and C.SETTLE not in done else []
    if sum(standing) < AMOUNT and calm:
        found.append(C.FULL)
        if done.count(C.PARTIAL) < 2 and AMOUNT - sum(standing) >= PART:
            found.append(C.PARTIAL)
    if standing:
        found.append(C.FAIL)
    last = dispute[-1] if dispute else None
    if last is C.LOST and (C.LOST, C.REOPEN) in pairwise(dispute):
        return [*found, C.WON]  # one appeal
    found += {
        None: [C.DISPUTE], C.DISPUTE: [C.LOST, C.WON], C.LOST: [C.WON, C.REOPEN], C.WON: [C.REOPEN],
        C.REOPEN: [C.LOST, C.WON],
    }[last]  # fmt: skip
    return found


def _standing(done: tuple[Change, ...]) -> list[int]:
    """The refunds that have not failed, by amount."""
    standing: list[int] = []
    for change in done:
        if change is C.PARTIAL:
            standing.append(PART)
        elif change is C.FULL:
            standing.append(AMOUNT - sum(standing))
        elif change is C.FAIL:
            standing.pop()
    return standing


def all_histories(longest: int, *, settles: bool, method: str = "card") -> list[History]:
    """Every history of so many changes."""
    found = [History((), method)]
    for _ in range(longest):
        found = [
            replace(history, changes=(*history.changes, change))
            for history in found for change in following(history) if settles or change is not C.SETTLE
        ]  # fmt: skip
    return sorted(found, key=str)


# -- what the provider says ---------------------------------------------------------------------------------------


def snapshots(history: History, payment: Mapping[str, Any]) -> list[Snapshot]:
    """What a fetch reads before the first change, and after each."""
    ref = payment["provider_ref"]
    said = Snapshot(
        provider=payment["provider"], account=payment["provider_account"], ref=ref, status=ProviderStatus.CREATED,
        currency=payment["currency"], amount=AMOUNT,
    )  # fmt: skip
    found = [said]
    for index, change in enumerate(history.changes):
        said = _after(said, change, index, THEN + timedelta(hours=index), history)
        found.append(said)
    return found


def _after(said: Snapshot, change: Change, index: int, at: datetime, history: History) -> Snapshot:
    match change:
        case C.CONFIRM:
            charge = said.ref.replace("pi_", "ch_")
            line = _line(said, charge, "charge", AMOUNT, at, fee=FEE)
            return replace(
                said, status=ProviderStatus.SUCCEEDED, amount_captured=AMOUNT, amount_authorized=AMOUNT,
                charge_ref=charge, facts=(line,), refunds=(), disputes=(),
            )  # fmt: skip
        case C.SETTLE:
            available = replace(said.facts[0], status="available", available_on=at)
            return replace(said, facts=(available,))
        case C.PARTIAL | C.FULL:
            assert said.refunds is not None
            standing = [r.amount for r in said.refunds if r.status is RefundStatus.SUCCEEDED]
            amount = PART if change is C.PARTIAL else AMOUNT - sum(standing)
            refund = RefundSnapshot(
                ref=f"re_{index}_{said.ref}", status=RefundStatus.SUCCEEDED, provider_status="succeeded",
                currency=said.currency, amount=amount, created_at=at,
                fact=_line(said, f"re_{index}", "refund", -amount, at),
            )  # fmt: skip
            return replace(said, refunds=(refund, *said.refunds))
        case C.FAIL:
            return replace(said, refunds=_with_failed(said, index, at))
        case _:
            return replace(said, disputes=(_dispute(said, change, index, at, history),))


def _with_failed(said: Snapshot, index: int, at: datetime) -> tuple[RefundSnapshot, ...]:
    assert said.refunds is not None
    standing = next(r for r in said.refunds if r.status is RefundStatus.SUCCEEDED)
    failed = replace(
        standing, status=RefundStatus.FAILED, provider_status="failed", failure_reason="lost_or_stolen_card",
        returned=_line(said, f"re_back_{index}", "refund_failure", standing.amount, at),
    )  # fmt: skip
    return tuple(failed if r is standing else r for r in said.refunds)


def _dispute(said: Snapshot, change: Change, index: int, at: datetime, history: History) -> DisputeSnapshot:
    before = said.disputes[0] if said.disputes else None
    took = _line(said, f"du_{index}", "dispute", -AMOUNT, at, fee=DISPUTE_FEE)
    if before is None:
        return DisputeSnapshot(
            ref=f"du_{said.ref}", status=DisputeStatus.OPEN, provider_status="needs_response", currency=said.currency,
            amount=AMOUNT, created_at=at, reason="fraudulent", facts=(took,),
        )  # fmt: skip
    appealed = change is C.REOPEN and before.status is DisputeStatus.LOST
    says: dict[Change, dict[str, Any]] = {
        C.LOST: {"status": DisputeStatus.LOST, "provider_status": "lost", "appealed": False},
        C.WON: {
            "status": DisputeStatus.WON, "provider_status": "won", "appealed": False,
            "facts": (*before.facts, _line(said, f"du_back_{index}", "dispute_reversal", AMOUNT, at)),
        },
        C.REOPEN: {"status": DisputeStatus.OPEN, "provider_status": "appeal_under_review", "appealed": True}
        if appealed else
        {"status": DisputeStatus.OPEN, "provider_status": "needs_response", "facts": (*before.facts, took)},
    }  # fmt: skip
    return replace(before, **says[change])


def _line(said: Snapshot, source: str, kind: str, gross: int, at: datetime, *, fee: int = 0) -> Fact:
    return Fact(
        ref=f"txn_{source}_{said.ref}", kind=kind, source_ref=source, currency=said.currency, gross=gross, fee=fee,
        net=gross - fee, status="pending", available_on=at, created_at=at,
    )  # fmt: skip


# -- what must be told --------------------------------------------------------------------------------------------


@dataclass
class Told:
    """How a payment ends: its state and amounts, what was told of it and of each child, and what the books hold."""

    state: str = "submitted"
    settled: bool = False
    topics: list[str] = field(
        default_factory=lambda: ["payment.initiated", "payment.submission_started", "payment.provider_submitted"]
    )
    captured: int = 0
    refunds: list[list[Any]] = field(default_factory=list)  # amount, state, topics
    dispute: list[str] = field(default_factory=list)
    dispute_state: str | None = None
    held: int = 0
    withdrawals: int = 0

    def amounts(self) -> dict[str, int]:
        lost = self.held if self.dispute_state == "lost" else 0
        refunded = sum(amount for amount, state, _ in self.refunds if state == "succeeded")
        return {"captured": self.captured, "refunded": refunded, "disputed": self.held - lost, "lost": lost}

    def follow(self, method: str) -> None:
        amounts = self.amounts()
        state = plain_state({**amounts, "method": method, "settled": self.settled, "returned": False})
        if state != self.state:
            self.topics.append(EDGES[self.state, state][0])
        self.state = state

    def owed(self) -> int:
        amounts = self.amounts()
        return amounts["captured"] - amounts["refunded"] - self.held

    def books(self) -> dict[str, int]:
        """Both hands met, nothing is in clearing or in flight: the provider keeps its fees, the merchant the rest."""
        fees = FEE * (self.captured > 0) + DISPUTE_FEE * self.withdrawals
        of = {"provider": self.owed() - fees, "provider_fees": fees, "merchant": -self.owed()}
        return {account: amount for account, amount in of.items() if amount}


def told(history: History) -> Told:
    """What merchants must be told of this history, whoever learned of it when."""
    t = Told()
    for change in history.changes:
        _tell(t, change, history.method)
    return t


def _tell(t: Told, change: Change, method: str) -> None:
    match change:
        case C.CONFIRM:
            t.captured = AMOUNT
        case C.SETTLE:
            t.settled = True
            if t.state != "confirmed":
                t.topics.append("payment.settled")
        case C.PARTIAL | C.FULL:
            left = AMOUNT - t.amounts()["refunded"]
            amount = PART if change is C.PARTIAL else left
            t.refunds.append([amount, "succeeded", ["requested", "pending", "booked", "succeeded"]])
        case C.FAIL:
            standing = [refund for refund in t.refunds if refund[1] == "succeeded"][-1]
            standing[1] = "failed"
            standing[2].append("failed")
        case C.DISPUTE:
            t.dispute_state, t.held = "open", AMOUNT
            t.dispute += ["opened", "funds_withdrawn"]
            t.withdrawals += 1
        case C.LOST:
            t.dispute_state = "lost"
            t.dispute.append("lost")
        case C.WON:
            t.dispute_state = "won"
            t.dispute.append("won")
            t.follow(method)  # it is won before the money is back
            t.held = 0
            t.dispute.append("funds_reinstated")
        case C.REOPEN:
            appealed, t.dispute_state = t.dispute_state == "lost", "open"
            t.dispute.append("reopened")
            if not appealed:
                t.held = AMOUNT
                t.dispute.append("funds_withdrawn")
                t.withdrawals += 1
    t.follow(method)
