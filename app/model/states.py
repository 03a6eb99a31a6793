"""The 14 payment states, and those of refunds and disputes; the edges between them are rows of tables, not code."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    INITIATED = "initiated"
    SUBMITTING = "submitting"
    OUTCOME_UNKNOWN = "outcome_unknown"
    SUBMITTED = "submitted"
    REQUIRES_ACTION = "requires_action"
    AUTHORIZED = "authorized"
    CONFIRMED = "confirmed"
    SETTLED = "settled"
    DISPUTED = "disputed"
    REFUNDED = "refunded"
    CHARGED_BACK = "charged_back"
    RETURNED = "returned"
    FAILED = "failed"
    CANCELED = "canceled"


# Confirmed at some time: from here on the state is a function of the facts on the row.
AFTER_CONFIRMATION = frozenset(
    {State.CONFIRMED, State.SETTLED, State.DISPUTED, State.REFUNDED, State.CHARGED_BACK, State.RETURNED}
)
# Refused or voided before money moved: only an operator's adoption leaves these.
CLOSED = frozenset({State.FAILED, State.CANCELED})
OPEN = frozenset(State) - AFTER_CONFIRMATION - CLOSED


class RefundState(StrEnum):
    """Where a refund stands; its edges are rows of `refund_transitions`."""

    REQUESTED = "requested"
    SUBMITTING = "submitting"
    OUTCOME_UNKNOWN = "outcome_unknown"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class DisputeState(StrEnum):
    """Where a dispute stands; its edges are rows of `dispute_transitions`."""

    INQUIRY = "inquiry"
    OPEN = "open"
    WON = "won"
    LOST = "lost"
    CLOSED = "closed"
