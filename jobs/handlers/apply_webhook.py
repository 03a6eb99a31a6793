"""webhook.received: fetch the object the provider's event is about, and apply it under the payment's own merchant."""

from __future__ import annotations

from typing import Any

import structlog

from app.db import Tx
from app.model.actor import ActorType
from app.model.states import State
from jobs.decide import close_orphan
from jobs.handlers.handler import RemoteHandler
from jobs.observe import CHILD_EVENTS, Fetch, finish_fetches, is_answered, open_fetch, subject_of
from jobs.run import Run

log = structlog.get_logger()

# The events that say something about a payment, its refunds or its disputes; the others are kept as evidence.
PAYMENT_EVENTS = ("payment_intent.", "charge.", "refund.")
# All that this one says is which object is the payment's.
CREATED = "payment_intent.created"
PAYOUT_EVENTS = "payout."
BALANCE_AVAILABLE = "balance.available"
# One balance event wakes at most this many payments; the clock sweep finds the rest.
SETTLEMENTS_PER_EVENT = 1_000


def handle(run: Run) -> None:
    finish_fetches(run, run.begin(lambda tx: claim_webhook(run, tx)))


def claim_webhook(run: Run, tx: Tx) -> Fetch | None:
    webhook = tx.one(
        "webhooks.of_delivery", merchant_id=run.delivery["merchant_id"], webhook_id=run.delivery["webhook_id"]
    )
    assert webhook is not None, "webhook.received names a stored webhook"
    if webhook["type"] == BALANCE_AVAILABLE:
        _look_at_settlements(tx, webhook)
        run.done(tx)
        return None
    if webhook["type"].startswith(PAYOUT_EVENTS) and webhook["object_id"]:
        _ask_about_payout(run, tx, webhook)
        return None
    if not _is_about_payment(webhook):
        _ignored(run, tx, webhook)
        return None
    payment = _payment_of(tx, webhook)
    if payment is None:
        _unrouted(run, tx, webhook)
        return None
    if payment["provider_ref"] not in (None, webhook["payment_ref"]):
        locked = tx.one("payments.lock", merchant_id=payment["merchant_id"], payment_id=payment["id"])
        assert locked is not None, "the payment was just found"
        close_orphan(tx, locked, webhook["payment_ref"])
        run.done(tx)
        return None
    if webhook["type"] == CREATED and not run.delivery["alone"] and _is_ours(run, tx, payment, webhook["payment_ref"]):
        return None
    subject = subject_of(payment, webhook["payment_ref"])
    if webhook["type"].startswith(CHILD_EVENTS):
        return open_fetch(run, tx, subject, whole=True)
    # one that an operator, or the end of a worker, made to run by itself observes by itself, and again when overtaken
    told_at = None if run.delivery["alone"] else webhook["received_at"]
    if told_at is not None and is_answered(run, tx, subject, told_at):
        return None
    return open_fetch(run, tx, subject, told_at=told_at)


def _is_ours(run: Run, tx: Tx, payment: dict[str, Any], ref: str) -> bool:
    """Whether the payment is known under this reference, or is just being created; then this run has ended."""
    locked = tx.one("payments.lock", merchant_id=payment["merchant_id"], payment_id=payment["id"])
    assert locked is not None, "the payment was just found"
    if locked["provider_ref"] == ref:
        run.done(tx)
        return True
    if locked["provider_ref"] is None and locked["state"] == State.SUBMITTING:
        # the answer of whoever creates it says the same; if none comes, the outcome is unknown, and this one looks
        run.defer(tx, run.runtime.timing.not_there_yet, "being_created")
        return True
    return False


def _ask_about_payout(run: Run, tx: Tx, webhook: dict[str, Any]) -> None:
    """Every change of a payout is a reason to read it: a run of its own, for whoever owns the account."""
    tx.run(
        "reconciliation_runs.request",
        kind="payout",
        provider=webhook["provider"],
        account=webhook["account"],
        subject=f"{webhook['object_id']} {webhook['provider_event_id']}",
        every=1.0,
        asked_by="webhook",
        position={"ref": webhook["object_id"]},
    )
    run.done(tx)


def _is_about_payment(webhook: dict[str, Any]) -> bool:
    return bool(webhook["payment_ref"]) and webhook["type"].startswith(PAYMENT_EVENTS)


def _payment_of(tx: Tx, webhook: dict[str, Any]) -> dict[str, Any] | None:
    """By the provider's reference, else by the ids our own metadata carries."""
    known = tx.one(
        "payments.find_by_provider_ref",
        provider=webhook["provider"],
        account=webhook["account"],
        provider_ref=webhook["payment_ref"],
    )
    if known is not None:
        return {**known, "provider_ref": webhook["payment_ref"]}
    if webhook["payment_id"] is None or webhook["payment_merchant_id"] is None:
        return None
    return tx.one("payments.find_by_id", merchant_id=webhook["payment_merchant_id"], payment_id=webhook["payment_id"])


def _unrouted(run: Run, tx: Tx, webhook: dict[str, Any]) -> None:
    """Perhaps its payment is not committed yet: come again for a while, then keep it as evidence of a stranger."""
    timing = run.runtime.timing
    if webhook["age"] < timing.unrouted_for:
        run.defer(tx, timing.not_there_yet, "payment_not_found")
        return
    tx.one(
        "acts.record",
        merchant_id=run.delivery["merchant_id"],
        action="webhook.unrouted",
        entity_type="provider_object",
        entity_id=webhook["payment_ref"],
        payment_id=None,
        body={"webhook_id": str(webhook["id"]), "type": webhook["type"]},
        reason=f"no payment after {timing.unrouted_for:g} s",
    )
    run.done(tx)


def _ignored(run: Run, tx: Tx, webhook: dict[str, Any]) -> None:
    """Stored and done; people are told, because what nothing is done by may be an event that Postbox should know."""
    log.warning("a webhook is ignored", type=webhook["type"], webhook_id=str(webhook["id"]))
    tx.one(
        "acts.record",
        merchant_id=run.delivery["merchant_id"],
        action="webhook.ignored",
        entity_type="provider_object",
        entity_id=webhook["object_id"] or webhook["provider_event_id"],
        payment_id=None,
        body={"type": webhook["type"], "webhook_id": str(webhook["id"])},
        reason="nothing is done by its type",
    )
    run.done(tx)


def _look_at_settlements(tx: Tx, webhook: dict[str, Any]) -> None:
    """The provider says money became available: observe the payments it can be about, by its own clock."""
    for payment in tx.all(
        "provider_transactions.payments_available_by",
        provider=webhook["provider"],
        account=webhook["account"],
        moment=webhook["created_at_provider"],
        limit=SETTLEMENTS_PER_EVENT,
    ):
        tx.one("payments.observe_now", merchant_id=payment["merchant_id"], payment_id=payment["payment_id"])


HANDLER = RemoteHandler("apply_webhook", handle, actor_type=ActorType.WEBHOOK)
