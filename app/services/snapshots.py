"""Applies what a provider says about a payment, under its row lock; the only way an observation changes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.config import Timing
from app.db import Tx
from app.model.children import SettlementStep
from app.model.snapshot import ProviderStatus, Snapshot
from app.model.states import AFTER_CONFIRMATION, CLOSED, State
from app.model.walk import Step, Verdict, plan_walk
from app.services import facts
from app.services.children import apply_children

# The facts a step may carry besides its state; what a step leaves out stays as it is.
_FACTS = (
    "amount_authorized",
    "amount_captured",
    "capture_before",
    "next_action_type",
    "next_action_url",
    "failure_code",
    "failure_message",
    "failure_retryable",
    "cancel_reason",
)


@dataclass(frozen=True)
class Applied:
    """`outdated`: the payment or its object is another meanwhile, nothing was changed, fetch again."""

    verdict: Verdict | None
    state: State
    outdated: bool = False


def apply_snapshot(
    tx: Tx,
    merchant_id: str,
    payment_id: str,
    snapshot: Snapshot,
    *,
    observed_version: int | None,
    timing: Timing,
    asked_at: datetime | None = None,
) -> Applied:
    """Walk the payment to what `snapshot` says, one legal step per UPDATE, and store its money lines.

    `observed_version` is what was read before the request was sent; None skips the check, for the answer to our own
    operation, which its rank protects from undoing what was seen meanwhile. The one thing a rank cannot tell is a hold
    that has ended since, so an answer that would raise that alarm is not believed but asked again. `asked_at`, UTC:
    when the question began of which this is the answer.
    """
    payment = tx.one("payments.lock", merchant_id=merchant_id, payment_id=payment_id)
    assert payment is not None, f"payment {payment_id} of {merchant_id} exists: a snapshot was fetched for it"
    state = State(payment["state"])
    if observed_version is not None and payment["observed_version"] != observed_version:
        return Applied(None, state, outdated=True)
    if payment["provider_ref"] not in (None, snapshot.ref):
        # fetched when nobody knew yet which object would be the payment's own
        return Applied(None, state, outdated=True)
    is_canceled = snapshot.status is ProviderStatus.CANCELED
    ids = {"merchant_id": merchant_id, "payment_id": payment_id}
    cancel = tx.one("operations.last_cancel_reason", **ids) if is_canceled else None
    walk = plan_walk(payment, snapshot, cancel_reason=cancel["reason"] if cancel else None)
    if walk.verdict is Verdict.TOO_EARLY:
        return Applied(walk.verdict, state)
    held_after_final = walk.verdict is Verdict.MONEY_AFTER_FINAL and snapshot.status is ProviderStatus.CAPTURABLE
    if held_after_final and observed_version is None:
        return Applied(None, state, outdated=True)
    if walk.verdict is not Verdict.APPLIED:
        tx.run("transactions.because", reason=walk.verdict.value)
    for step in walk.steps:
        _take(tx, payment, step, snapshot, timing)
        state = step.state or state
    for fact in snapshot.facts:
        facts.store(tx, payment, fact)
    if state in AFTER_CONFIRMATION | CLOSED and (snapshot.refunds or snapshot.disputes):
        apply_children(tx, payment, snapshot, settlement=_settlement(payment, state, snapshot))
        payment = tx.one("payments.lock", merchant_id=merchant_id, payment_id=payment_id) or payment
        state = State(payment["state"])
    state = _close(tx, payment, state, snapshot, timing, asked_at)
    if walk.verdict is not Verdict.APPLIED:
        tx.run("transactions.because", reason="")
    return Applied(walk.verdict, state)


def _take(tx: Tx, payment: dict[str, Any], step: Step, snapshot: Snapshot, timing: Timing) -> None:
    tx.run(
        "payments.take_step",
        merchant_id=payment["merchant_id"],
        payment_id=payment["id"],
        state=step.state.value if step.state else None,
        provider_ref=snapshot.ref,
        latest_charge_ref=snapshot.charge_ref,
        action_window=timing.action_window,
        money_after_final=bool(step.facts.get("money_after_final")),
        **{name: step.facts.get(name) for name in _FACTS},
    )


def _settlement(payment: dict[str, Any], state: State, snapshot: Snapshot) -> SettlementStep | None:
    """The moment from which the charge's money is ours, if that is news: the provider's, to stand among its others."""
    available = [fact.available_on for fact in snapshot.facts if fact.status == "available"]
    if state not in AFTER_CONFIRMATION or payment["settled_at"] is not None or not available:
        return None
    return SettlementStep(min(available))


def _close(
    tx: Tx, payment: dict[str, Any], state: State, snapshot: Snapshot, timing: Timing, asked_at: datetime | None
) -> State:
    ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}
    charge = tx.one("provider_transactions.charge_of", **ids) if state in AFTER_CONFIRMATION else None
    settles = bool(charge and charge["status"] == "available" and payment["settled_at"] is None)
    settled = settles or payment["settled_at"] is not None
    observe, wait = _next_observation(payment, state, charge, settled=settled, timing=timing)
    is_left_alone = observe == "never" and state in AFTER_CONFIRMATION
    waits = tx.one("provider_transactions.next_available", **ids) if is_left_alone else None
    if waits is not None:
        # a refund's or a dispute's line, which becomes available on a day of its own
        observe, wait = "in", waits["available_in"] if waits["available_in"] > 0 else timing.settle_recheck
    tx.run(
        "payments.close_observation",
        **ids,
        settles=settles,
        provider_ref=snapshot.ref,
        latest_charge_ref=snapshot.charge_ref,
        method_last4=snapshot.method_last4,
        rank=snapshot.rank,
        asked_at=asked_at,
        observe=observe,
        wait=wait,
    )
    return State.SETTLED if settles and state is State.CONFIRMED else state


def _next_observation(
    payment: dict[str, Any], state: State, charge: dict[str, Any] | None, *, settled: bool, timing: Timing
) -> tuple[str, float]:
    """When the clock observes next, in seconds: `never`, `keep` what is set, `in` so long, `before` the capture ends.

    A wait grows with the time already waited, so that what is slow is asked about ever more rarely.
    """
    if state in CLOSED:
        return "never", 0.0
    if settled:
        return _after_settlement(payment, state, timing)
    if state in AFTER_CONFIRMATION:
        if charge is None:
            waited = payment["confirmed_for"] or 0.0
            return "in", _grown(waited, timing.not_there_yet, timing.settle_recheck)
        if charge["available_in"] > 0:
            return "in", charge["available_in"]
        return "in", _grown(-charge["available_in"], timing.not_there_yet, timing.settle_recheck)
    if state is State.AUTHORIZED:
        return "before", timing.observe_again
    if not payment["observe_due"]:
        return "keep", 0.0
    return "in", _grown(payment["submitted_for"] or 0.0, timing.observe_again, timing.action_window)


def _after_settlement(payment: dict[str, Any], state: State, timing: Timing) -> tuple[str, float]:
    """A settled payment is left alone unless the provider still has to decide: about a refund, or about a dispute."""
    if payment["amount_refund_pending"] > 0:
        return "in", timing.settle_recheck
    return ("in", timing.dispute_recheck) if state is State.DISPUTED else ("never", 0.0)


def _grown(waited: float, first: float, longest: float) -> float:
    return min(max(waited / 2, first), longest)
