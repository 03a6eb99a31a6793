"""What the clock does, in bounded passes: promote what is due, rescue what was dropped, observe what is silent.

Every pass takes its own try-lock, so that any number of workers may call it; none runs through the queue it minds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from app.db import Tx
from app.model.operation import Kind, cancel_params
from app.model.states import State
from app.services import deliveries, operations
from jobs.decide import lose_track
from jobs.first_due import FirstDue
from jobs.provider_runs import ask_about_payouts_once, compare_lines_once
from jobs.reconcile import arm_silent_once, compare_due_once, tell_unacknowledged_once
from jobs.runtime import Runtime
from jobs.sweep_pass import Swept, sweep_pages, sweep_pass

# Bounds of one pass; what is left is found by the next.
STALLED_PER_PASS = 100
LEASES_PER_PASS = 100
OBSERVATIONS_PER_PAGE = 500
EXPIRIES_PER_PASS = 50
PROMOTED_PER_PAGE = 500
PAGE_OF_DELIVERIES = 1_000
# A thousand a second at the clock's pace: several times as fast as keys come, and each batch over in a moment.
KEYS_PER_PASS = 5_000

# What is being observed already is walked past again and again while its provider is away: for so long in one pass.
OBSERVING_SECONDS = 0.2
# A backlog is promoted faster than it is run; what is paused meanwhile costs no more than this share of the clock.
PROMOTING_SECONDS = 0.2
# Of one lane: a walk over a million takes minutes, and the moving passes wait no longer than that.
WALKING_SECONDS = 0.2

LANES = ("remote", "local")
# Before every payment that is to be observed, and before every delivery there can be.
NOBODY = "00000000-0000-0000-0000-000000000000"
FIRST_OBSERVATION = {"observe_at": "-infinity", "merchant_id": NOBODY, "payment_id": NOBODY}
FIRST_DELIVERY = {"merchant_id": NOBODY, "event_id": NOBODY, "handler": ""}


def promote_once(runtime: Runtime) -> int:
    """Enqueue deliveries whose due time has come, merchants in turn."""

    def page(tx: Tx, at: Sequence[str]) -> Swept:
        found = tx.one(
            "deliveries.promote",
            after=at[0],
            limit=PROMOTED_PER_PAGE,
            provider=deliveries.REMOTE_PROVIDER,
            pause_recheck=runtime.timing.pause_recheck,
            pause_longest=runtime.timing.pause_longest,
        )
        assert found is not None, "the page always answers"
        last = [str(found[column]) for column in FIRST_DELIVERY]
        return Swept(int(found["promoted"]), walked_to=last if found["more"] else None)

    return sweep_pages(runtime, "promote", page, first=list(FIRST_DELIVERY.values()), seconds=PROMOTING_SECONDS)


def rescue_once(runtime: Runtime) -> int:
    """Take the jobs of silent workers away from them; their deliveries run again, alone, a bounded number of times."""

    def work(tx: Tx) -> int:
        stalled = tx.all("deliveries.stalled", silent_for=runtime.timing.worker_stalled, limit=STALLED_PER_PASS)
        for job in stalled:
            tx.run("deliveries.delete_job", job_id=job["job_id"])
            if job["merchant_id"] is not None:
                tx.one(
                    "deliveries.rescue",
                    merchant_id=job["merchant_id"],
                    event_id=job["event_id"],
                    handler=job["handler"],
                    job_id=job["job_id"],
                    limit=deliveries.RESCUE_LIMIT,
                    spread=runtime.timing.rescue_spread,
                )
        return len(stalled)

    return sweep_pass(runtime, "rescue", work)


def find_lost_jobs_once(runtime: Runtime, known: Mapping[str, FirstDue] | None = None) -> int:
    """Walk over pending deliveries, per lane: those whose job is gone are due again.

    `known` is by lane what passes before have learned of when the first event was that is not delivered.
    """
    known = known or {lane: FirstDue() for lane in LANES}
    return sum(_walk_over_pending(runtime, lane, known[lane]) for lane in LANES)


def _walk_over_pending(runtime: Runtime, lane: str, known: FirstDue) -> int:
    begun = False
    since: datetime | None = None

    def page(tx: Tx, at: Sequence[str]) -> Swept:
        nonlocal begun, since
        is_first = list(at) == list(FIRST_DELIVERY.values())
        if not begun:
            known.learn(tx)
            # what another pass has begun may be a walk over everything, and is ended as one
            begun, since = True, known.since() if is_first else None
        low = NOBODY if since is None else first_event_of(since)
        if is_first:
            # the platform is the merchant before all others: its deliveries too are scanned from this event on
            at = [NOBODY, low, ""]
        began = time.monotonic()
        found = tx.one(
            "deliveries.lost_jobs",
            **dict(zip(FIRST_DELIVERY, at, strict=True)),
            limit=PAGE_OF_DELIVERIES,
            lane=lane,
            since=low,
        )
        assert found is not None, "the walk always answers"
        if found["seen"] == PAGE_OF_DELIVERIES:
            return Swept(int(found["rearmed"]), walked_to=[str(found[column]) for column in FIRST_DELIVERY])
        if is_first:
            seconds = time.monotonic() - began
            known.scanned(since, found["first_at"], seconds)
            known.tell(tx, seconds)
        return Swept(int(found["rearmed"]))

    first = list(FIRST_DELIVERY.values())
    return sweep_pages(runtime, f"lost_jobs_{lane}", page, first=first, seconds=WALKING_SECONDS)


def first_event_of(at: datetime) -> str:
    """The id before those of all events from this moment on: they begin with its milliseconds (RFC 9562, version 7)."""
    return str(UUID(int=int(at.timestamp() * 1_000) << 80))


def expire_leases_once(runtime: Runtime, known: FirstDue | None = None) -> int:
    """Operations whose holder is gone: their outcome is unknown, and who waits for it is due now."""
    known = known or FirstDue()

    def work(tx: Tx) -> int:
        since = known.scan(tx, "operations.first_lease")
        expired = tx.all("operations.expired_leases", since=since, limit=LEASES_PER_PASS)
        for row in sorted(expired, key=_lock_order):
            ids = {"merchant_id": row["merchant_id"], "payment_id": row["payment_id"]}
            payment = tx.one("payments.lock", **ids)
            assert payment is not None, "an operation belongs to a payment"
            operation = tx.one("operations.lock", merchant_id=row["merchant_id"], operation_id=row["operation_id"])
            if operation is None or operation["status"] != "in_flight" or operation["leased"]:
                continue
            tx.run("operations.expire_lease", merchant_id=row["merchant_id"], operation_id=row["operation_id"])
            lose_track(tx, payment, operation)
            tx.run("deliveries.hurry", **ids)
        return len(expired)

    return sweep_pass(runtime, "leases", work)


def observe_due_once(runtime: Runtime, known: FirstDue | None = None) -> int:
    """Payments the clock says to observe: one event each, unless an observation waits or runs already."""
    known = known or FirstDue()
    first = list(FIRST_OBSERVATION.values())

    def page(tx: Tx, at: Sequence[str]) -> Swept:
        if list(at) == first:
            at = [known.scan(tx, "payments.first_observation").isoformat(), NOBODY, NOBODY]
        found = tx.one(
            "payments.due_observations", **dict(zip(FIRST_OBSERVATION, at, strict=True)), limit=OBSERVATIONS_PER_PAGE
        )
        assert found is not None, "the walk always answers"
        if found["seen"] == OBSERVATIONS_PER_PAGE:
            return Swept(int(found["emitted"]), walked_to=[str(found[column]) for column in FIRST_OBSERVATION])
        return Swept(int(found["emitted"]))

    return sweep_pages(runtime, "observe", page, first=first, seconds=OBSERVING_SECONDS)


def expire_actions_once(runtime: Runtime) -> int:
    """Payers who never came back: their payments are canceled at the provider, and then here."""

    def work(tx: Tx) -> int:
        expired = tx.all("payments.expired_actions", limit=EXPIRIES_PER_PASS, again=runtime.timing.settle_recheck)
        for row in sorted(expired, key=_lock_order):
            payment = tx.one("payments.lock", merchant_id=row["merchant_id"], payment_id=row["payment_id"])
            assert payment is not None, "the payment was just found"
            if payment["state"] != State.REQUIRES_ACTION:
                continue
            new = tx.one("operations.new_id")
            assert new is not None, "an id can always be made"
            params = cancel_params(payment, str(new["id"]), reason="action_expired")
            operations.open_operation(
                tx, payment, Kind.CANCEL, params, operation_id=str(new["id"]), reason="action_expired"
            )
        return len(expired)

    return sweep_pass(runtime, "actions", work)


def prune_keys_once(runtime: Runtime) -> int:
    """Idempotency keys past their time."""

    def work(tx: Tx) -> int:
        return tx.run("idempotency_keys.prune", keep=runtime.timing.idempotency_keep, limit=KEYS_PER_PASS)

    return sweep_pass(runtime, "idempotency_keys", work)


def _lock_order(row: dict[str, Any]) -> tuple[UUID, UUID]:
    """Payments are locked by (merchant_id, id), whatever order a sweep found them in."""
    return row["merchant_id"], row["payment_id"]


def sweep_once(runtime: Runtime) -> dict[str, int]:
    """Every pass once, in the order in which one feeds the next; counts by name."""
    return {
        "leases": expire_leases_once(runtime),
        "rescued": rescue_once(runtime),
        "lost": find_lost_jobs_once(runtime),
        "expired_actions": expire_actions_once(runtime),
        "observations": observe_due_once(runtime),
        "armed": arm_silent_once(runtime),
        "compared": compare_due_once(runtime),
        "unacknowledged": tell_unacknowledged_once(runtime),
        "lines": compare_lines_once(runtime),
        "payouts": ask_about_payouts_once(runtime),
        "pruned_keys": prune_keys_once(runtime),
        "promoted": promote_once(runtime),
    }
