"""How one snapshot moves one payment: the legal single steps, decided from the row and the snapshot alone.

The steps are canonical: whoever learns late walks the same states, in the same order, as who learned in time. So the
order in which webhooks, answers and polls arrive changes neither the end nor the story that merchants are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.model.snapshot import ProviderStatus, Snapshot
from app.model.states import AFTER_CONFIRMATION, CLOSED, State

# What the payer did is told even when nobody saw it pending; there is nothing left to show then.
ACTION_ALREADY_TAKEN = "completed"


class Verdict(StrEnum):
    APPLIED = "applied"
    STALE = "observation_stale"
    MONEY_AFTER_FINAL = "money_after_final"
    TOO_EARLY = "too_early"


@dataclass(frozen=True)
class Step:
    """One UPDATE: the state to enter, or None for facts alone, and the facts that come with it."""

    state: State | None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Walk:
    verdict: Verdict
    steps: tuple[Step, ...]


_TARGET: dict[ProviderStatus, State | None] = {
    ProviderStatus.CREATED: None,
    ProviderStatus.ACTION_REQUIRED: State.REQUIRES_ACTION,
    ProviderStatus.PROCESSING: State.SUBMITTED,
    ProviderStatus.CAPTURABLE: State.AUTHORIZED,
    ProviderStatus.SUCCEEDED: State.CONFIRMED,
    ProviderStatus.FAILED: State.FAILED,
    ProviderStatus.CANCELED: State.CANCELED,
}


def plan_walk(payment: Mapping[str, Any], snapshot: Snapshot, *, cancel_reason: str | None = None) -> Walk:
    """The steps that bring `payment` (a row) to what `snapshot` says.

    `cancel_reason` is ours, when a cancel operation of ours did it or may have; else the provider's own is taken.
    """
    assert_same_money(payment, snapshot)
    state = State(payment["state"])
    if state is State.INITIATED:
        return Walk(Verdict.TOO_EARLY, ())
    if state in CLOSED:
        return _after_final(payment, snapshot)
    # an adopted payment keeps the rank of its refusal: past confirmation only the status tells
    if state in AFTER_CONFIRMATION:
        verdict = Verdict.APPLIED if snapshot.status is ProviderStatus.SUCCEEDED else Verdict.STALE
        return Walk(verdict, ())
    if snapshot.rank < payment["provider_rank"]:
        return Walk(Verdict.STALE, ())
    target = _TARGET[snapshot.status]
    if target is None:
        return Walk(Verdict.APPLIED, ())
    steps = tuple(
        Step(step, _facts(step, payment, snapshot, cancel_reason)) for step in _states(payment, snapshot, target)
    )
    return Walk(Verdict.APPLIED, steps)


def assert_same_money(payment: Mapping[str, Any], snapshot: Snapshot) -> None:
    """A provider object that is not about this payment's money must never be applied to it."""
    assert snapshot.currency == payment["currency"] and snapshot.amount == payment["amount"], (
        f"payment {payment['id']} is {payment['amount']} {payment['currency']}, "
        f"{snapshot.ref} is {snapshot.amount} {snapshot.currency}"
    )


def _after_final(payment: Mapping[str, Any], snapshot: Snapshot) -> Walk:
    """Money on a failed or canceled payment is never stale: its facts are kept and a person is told."""
    if snapshot.status not in (ProviderStatus.SUCCEEDED, ProviderStatus.CAPTURABLE):
        return Walk(Verdict.STALE, ())
    facts: dict[str, Any] = {"money_after_final": True}
    if snapshot.status is ProviderStatus.SUCCEEDED:
        facts["amount_captured"] = snapshot.amount_captured
    else:
        facts |= _facts(State.AUTHORIZED, payment, snapshot, None)
    return Walk(Verdict.MONEY_AFTER_FINAL, (Step(None, facts),))


def _states(payment: Mapping[str, Any], snapshot: Snapshot, target: State) -> list[State]:
    current = State(payment["state"])
    states: list[State] = []

    def go(state: State) -> None:
        nonlocal current
        if state is not current:
            states.append(state)
            current = state

    if current in (State.SUBMITTING, State.OUTCOME_UNKNOWN):
        go(State.SUBMITTED)
    if snapshot.action_taken and payment["action_required_at"] is None and current is State.SUBMITTED:
        go(State.REQUIRES_ACTION)
    # a bank debit is processed after the payer acted, and has a charge from then on; a card is not processed
    processed = target in (State.AUTHORIZED, State.CONFIRMED) or snapshot.charge_ref is not None
    if (
        current is State.REQUIRES_ACTION
        and target is not State.REQUIRES_ACTION
        and payment["method"] != "card"
        and processed
    ):
        go(State.SUBMITTED)
    was_held = payment["capture_method"] == "manual" and snapshot.amount_authorized is not None
    if was_held and target in (State.CONFIRMED, State.CANCELED, State.FAILED):
        go(State.AUTHORIZED)
    go(target)
    return states


def _facts(step: State, payment: Mapping[str, Any], snapshot: Snapshot, cancel_reason: str | None) -> dict[str, Any]:
    if step is State.REQUIRES_ACTION:
        action = snapshot.next_action
        return {
            "next_action_type": action.type if action else ACTION_ALREADY_TAKEN,
            "next_action_url": action.redirect_url if action else None,
        }
    if step is State.AUTHORIZED:
        return {
            "amount_authorized": snapshot.amount_authorized or snapshot.amount_capturable or payment["amount"],
            "capture_before": snapshot.capture_before,
        }
    if step is State.CONFIRMED:
        return {"amount_captured": snapshot.amount_captured}
    if step is State.FAILED:
        return {
            "failure_code": snapshot.failure_code or "provider_failed",
            "failure_message": snapshot.failure_message,
            "failure_retryable": snapshot.failure_retryable,
        }
    if step is State.CANCELED:
        return {"cancel_reason": cancel_reason or snapshot.cancel_reason or "requested"}
    return {}
