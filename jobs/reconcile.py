"""What the clock compares: payments something happened to, and payments that have been silent too long."""

from __future__ import annotations

from app.db import Tx
from app.services import discrepancies, reconciliation
from jobs.runtime import Runtime
from jobs.sweep_pass import sweep_pass

# One transaction: its payments are locked while they are compared, a few milliseconds. Whoever delivers to one of them
# meanwhile leaves it to the promoter, so the less often that happens the better.
PAYMENTS_PER_BATCH = 40
# A backlog is worked off in one pass up to here; the next pass goes on.
BATCHES_PER_PASS = 125
ARMED_PER_PASS = 500
TOLD_PER_PASS = 500


def compare_due_once(runtime: Runtime) -> int:
    """Compare the books of the payments that are due; returns how many."""
    compared = 0
    for _ in range(BATCHES_PER_PASS):
        batch = sweep_pass(runtime, "reconcile", lambda tx: _compare_batch(runtime, tx))
        compared += batch
        if batch < PAYMENTS_PER_BATCH or runtime.draining.is_set():
            break
    return compared


def _compare_batch(runtime: Runtime, tx: Tx) -> int:
    return reconciliation.compare_due(tx, limit=PAYMENTS_PER_BATCH, timing=runtime.timing).payments


def arm_silent_once(runtime: Runtime) -> int:
    """Payments not at rest that nobody will look at are due now: a lost wake-up delays, it loses nothing."""
    return sweep_pass(
        runtime,
        "reconcile_arm",
        lambda tx: tx.run("reconcile_due.arm_silent", quiet_for=runtime.timing.reconcile_sweep, limit=ARMED_PER_PASS),
    )


def tell_unacknowledged_once(runtime: Runtime) -> int:
    """Discrepancies that nobody looks after, though somebody should by now: told once each; returns of how many."""
    return sweep_pass(runtime, "unacknowledged", lambda tx: discrepancies.tell_unacknowledged(tx, limit=TOLD_PER_PASS))
