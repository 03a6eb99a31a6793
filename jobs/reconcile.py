"""What the clock compares: payments something happened to, and payments that have been silent too long."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from app import errors
from app.db import Tx
from app.db.pool import Row
from app.model.states import OPEN
from app.services import discrepancies, reconciliation
from jobs.first_due import FirstDue
from jobs.runtime import Runtime
from jobs.sweep_pass import Swept, sweep_pages, sweep_pass

log = structlog.get_logger()

# One transaction: its payments are locked while they are compared, a few milliseconds. Whoever delivers to one of them
# meanwhile leaves it to the promoter, so the less often that happens the better.
PAYMENTS_PER_BATCH = 40
# A backlog is worked off in one pass up to here; the next pass goes on.
BATCHES_PER_PASS = 125
# A page of payments that are all waited for takes 12 ms, so a million of them fit into one pass.
ARMED_PER_PAGE = 5_000
ARMING_SECONDS = 5.0
# And a pass that rests ends after this, for whoever has the next to see what came due meanwhile.
COMPARING_SECONDS = 5.0
SILENT_STATES = sorted(state.value for state in OPEN)
TOLD_PER_PASS = 500


def compare_due_once(runtime: Runtime, known: FirstDue | None = None) -> int:
    """Compare the books of the payments that are due; returns how many. `known` is what passes before have learned.

    A batch that fails by itself is tried again in halves, and a payment that fails alone is put off: it stops nobody.
    """
    known = known or FirstDue()
    compared, since, limit = 0, None, PAYMENTS_PER_BATCH
    due: list[Row] = []

    def compare(tx: Tx) -> int:
        nonlocal since, due
        runtime.courtesy.sample(tx)
        since = since or known.scan(tx, "reconcile_due.first_due")
        due = reconciliation.lock_due(tx, limit=limit, since=since)
        return reconciliation.compare(tx, due, timing=runtime.timing, detected_by="realtime").payments

    end = time.monotonic() + COMPARING_SECONDS
    for _ in range(BATCHES_PER_PASS):
        began, due = time.monotonic(), []
        try:
            batch = sweep_pass(runtime, "reconcile", compare)
        except (errors.TooSlow, errors.ConstraintViolated):
            if len(due) == 1:
                _put_off(runtime, due[0])
            if len(due) < 2 or runtime.draining.is_set():
                raise
            limit = len(due) // 2
            continue
        compared += batch
        if batch < limit or runtime.draining.is_set():
            break
        if runtime.courtesy.rest(time.monotonic() - began, runtime.draining) and time.monotonic() > end:
            break
    return compared


def _put_off(runtime: Runtime, payment: Row) -> None:
    log.error("a payment cannot be compared", **{name: str(value) for name, value in payment.items()})

    def put_off(tx: Tx) -> int:
        reconciliation.put_off(tx, payment, seconds=runtime.timing.reconcile_sweep)
        return 0

    sweep_pass(runtime, "reconcile", put_off)


def arm_silent_once(runtime: Runtime) -> int:
    """Payments not at rest that nobody will compare are due now: a lost wake-up delays, it loses nothing."""

    def page(tx: Tx, at: Sequence[str]) -> Swept:
        state, updated_at, payment_id = at
        if state not in SILENT_STATES:
            # another release walks over other states
            state, updated_at, payment_id = _first_of(SILENT_STATES[0])
        found = tx.one(
            "reconcile_due.arm_silent",
            quiet_for=runtime.timing.reconcile_sweep,
            state=state,
            updated_at=updated_at,
            payment_id=payment_id,
            limit=ARMED_PER_PAGE,
        )
        assert found is not None, "the walk always answers"
        if found["seen"] == ARMED_PER_PAGE:
            return Swept(int(found["armed"]), walked_to=[state, str(found["updated_at"]), str(found["payment_id"])])
        later = SILENT_STATES[SILENT_STATES.index(state) + 1 :]
        return Swept(int(found["armed"]), walked_to=_first_of(later[0]) if later else None)

    first = _first_of(SILENT_STATES[0])
    return sweep_pages(runtime, "reconcile_arm", page, first=first, seconds=ARMING_SECONDS)


def _first_of(state: str) -> list[str]:
    """Before every payment in this state."""
    return [state, "-infinity", "00000000-0000-0000-0000-000000000000"]


def tell_unacknowledged_once(runtime: Runtime) -> int:
    """Discrepancies that nobody looks after, though somebody should by now: told once each; returns of how many."""
    return sweep_pass(runtime, "unacknowledged", lambda tx: discrepancies.tell_unacknowledged(tx, limit=TOLD_PER_PASS))
