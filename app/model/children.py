"""What a provider says of a payment's refunds and disputes, as steps: single and legal, in the order of its own times.

Like the walk of a payment the steps are canonical: whoever learns late tells each refund, each dispute and the payment
the same story as who learned in time. What left a money line behind stands at that line's time. What left none, such as
a lost dispute, stands right after the last line of the same refund or dispute; nothing else tells when it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.model.snapshot import DisputeSnapshot, DisputeStatus, Fact, RefundSnapshot, RefundStatus

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RefundStep:
    """One step of a refund: the state to enter, or None for facts alone, and the money lines that come with it."""

    at: datetime
    said: RefundSnapshot
    state: str | None
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class DisputeStep:
    """One step of a dispute, likewise; `withdrawn` is what it holds of the payment's money then, None: as before."""

    at: datetime
    said: DisputeSnapshot
    state: str | None
    withdrawn: int | None
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class SettlementStep:
    """The charge's money is available: a step of the payment itself, at its place among the others."""

    at: datetime


ChildStep = RefundStep | DisputeStep | SettlementStep

# The states from which a refund is still to be told as pending.
_BEFORE_PENDING = frozenset({"requested", "submitting", "outcome_unknown"})
_ENDED = frozenset({"failed", "canceled"})

# The way of a dispute between two states, by the edges of dispute_transitions.
_DISPUTE_WAYS: dict[tuple[str, str], tuple[str, ...]] = {
    ("inquiry", "open"): ("open",),
    ("inquiry", "won"): ("open", "won"),
    ("inquiry", "lost"): ("open", "lost"),
    ("inquiry", "closed"): ("closed",),
    ("open", "won"): ("won",),
    ("open", "lost"): ("lost",),
    ("open", "closed"): ("closed",),
    ("won", "open"): ("open",),
    ("won", "lost"): ("open", "lost"),
    ("won", "closed"): ("open", "closed"),
    ("lost", "open"): ("open",),
    ("lost", "won"): ("won",),
    ("lost", "closed"): ("open", "closed"),
    ("closed", "open"): ("open",),
    ("closed", "won"): ("open", "won"),
    ("closed", "lost"): ("open", "lost"),
}


def plan_refund(row: Row | None, said: RefundSnapshot, *, method: str) -> list[RefundStep]:
    """The steps from `row` (None: never heard of) to what the provider says; lines that are known come along again.

    Stripe's refunds of cards succeed at once, and if they fail they do so later: one that failed without ever being
    seen as pending had succeeded. https://docs.stripe.com/refunds#failed-refunds
    """
    state = row["state"] if row else "requested"
    taken = (said.fact,) if said.fact else ()
    brought = (said.returned,) if said.returned else ()
    if state in _ENDED:
        return [RefundStep(said.created_at, said, None, taken + brought)] if taken or brought else []
    steps: list[RefundStep] = []
    never_seen = state in _BEFORE_PENDING
    if never_seen:
        steps.append(RefundStep(said.created_at, said, "pending", taken))
    elif taken:
        steps.append(RefundStep(said.created_at, said, None, taken))
    failed = said.status is RefundStatus.FAILED
    had_succeeded = failed and never_seen and method == "card"
    if state != "succeeded" and (said.status is RefundStatus.SUCCEEDED or had_succeeded):
        steps.append(RefundStep(said.created_at, said, "succeeded"))
    if failed:
        at = said.returned.created_at if said.returned else said.created_at
        steps.append(RefundStep(at, said, "failed", brought))
    if said.status is RefundStatus.CANCELED and state != "succeeded":
        steps.append(RefundStep(said.created_at, said, "canceled", brought))
    return steps


def plan_dispute(row: Row | None, said: DisputeSnapshot, *, known: frozenset[str]) -> list[DisputeStep]:
    """The steps from `row` (None: never heard of) to what the provider says; `known` are the lines already stored."""
    state: str | None = row["state"] if row else None
    at, withdrawn = said.created_at, 0
    steps: list[DisputeStep] = []

    def go(to: str, *facts: Fact) -> None:
        nonlocal state
        ways = (to,) if state is None else _DISPUTE_WAYS.get((state, to), ())
        # it is won before the money is back, and opened before it is gone: both may be seen apart
        steps.extend(DisputeStep(at, said, way, before) for way in ways)
        if facts:
            steps.append(DisputeStep(at, said, None, withdrawn, facts))
        state = to if ways else state

    before = 0
    if state is None:
        go("inquiry" if said.status is DisputeStatus.INQUIRY and not said.facts else "open")
    for fact in said.facts:
        before, at = withdrawn, max(at, fact.created_at)
        withdrawn = max(0, withdrawn + moved(fact, said))
        if fact.ref in known or fact.gross == 0:
            steps.append(DisputeStep(at, said, None, None, (fact,)))
            continue
        to = "open" if fact.gross < 0 else "won"
        # money that comes back does not end an inquiry, nor what was closed before
        is_news = state != to and (fact.gross < 0 or state in ("open", "lost"))
        go(to if is_news else state or to, fact)
    before = withdrawn
    was_appealed = row is not None and row["provider_status"] == said.provider_status
    if said.appealed and state == "open" and not was_appealed:
        go("lost")
    if said.status is not None and said.status.value != state and said.status is not DisputeStatus.INQUIRY:
        go(said.status.value)
    return steps


def moved(fact: Fact, said: DisputeSnapshot) -> int:
    """What a line withdraws (positive) or reinstates, in the payment's currency; a line in another moves all of it."""
    if fact.currency == said.currency:
        return -fact.gross
    return said.amount if fact.gross < 0 else -said.amount


def in_order(steps: Iterable[ChildStep]) -> list[ChildStep]:
    """By the provider's times; what stands at one time stays in the order it was planned."""
    return sorted(steps, key=lambda step: step.at)
