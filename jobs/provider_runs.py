"""What the clock asks for by the hour and the day: the provider's changes, its balance, a night of comparing."""

from __future__ import annotations

from typing import Any

from app.db import Tx
from app.services import provider_book, reconciliation
from jobs.reconcile import PAYMENTS_PER_BATCH
from jobs.runtime import Runtime
from jobs.sweep_pass import sweep_pass

# A night is walked by key, so many payments in one transaction (locked meanwhile), so many transactions in one pass.
PAYMENTS_PER_PAGE = PAYMENTS_PER_BATCH
PAGES_PER_PASS = 125
LINES_PER_PASS = 500

_FIRST = "00000000-0000-0000-0000-000000000000"


def request_runs_once(runtime: Runtime) -> int:
    """Ask for what this hour and this day are owed: once for each, by whichever worker is first."""
    timing = runtime.timing
    due = {"changes": timing.changes_every, "balance": timing.balance_every, "nightly": timing.night_every}

    def work(tx: Tx) -> int:
        return sum(
            tx.run(
                "reconciliation_runs.request",
                kind=kind,
                provider=runtime.provider.name,
                account=runtime.provider.account,
                subject=None,
                every=every,
                asked_by="clock",
                position={},
            )
            for kind, every in due.items()
        )

    return sweep_pass(runtime, "runs", work)


def compare_lines_once(runtime: Runtime) -> int:
    """The provider's lines that are nobody's: those that waited too long, and those whose payment was found."""

    def work(tx: Tx) -> int:
        found = provider_book.compare_lines(tx, limit=LINES_PER_PASS, timing=runtime.timing)
        return int(found["opened"] + found["closed"])

    return sweep_pass(runtime, "lines", work)


def compare_night_once(runtime: Runtime) -> int:
    """Some pages of the night that is under way; returns how many payments were compared."""
    compared = 0
    for _ in range(PAGES_PER_PASS):
        page = sweep_pass(runtime, "night", lambda tx: _compare_page(runtime, tx))
        compared += page
        if page == 0 or runtime.draining.is_set():
            break
    return compared


def _compare_page(runtime: Runtime, tx: Tx) -> int:
    """One page by key; 0 when there is no night, or this was its end."""
    night = tx.one("reconciliation_runs.open_night")
    if night is None:
        return 0
    at: dict[str, Any] = {"merchant_id": _FIRST, "payment_id": _FIRST} | night["position"]
    names = {"merchant_id": night["merchant_id"], "run_id": night["id"]}
    before = {"payments": 0, "opened": 0, "closed": 0} | night["found"]
    payments = tx.all("reconciliation_runs.night_page", **at, limit=PAYMENTS_PER_PAGE, back=runtime.timing.night_back)
    looked = reconciliation.compare(tx, payments, timing=runtime.timing, detected_by="daily")
    found = {
        "payments": before["payments"] + looked.payments,
        "opened": before["opened"] + looked.opened,
        "closed": before["closed"] + looked.closed,
    }
    end = tx.one("reconciliation_runs.night_end", **at, limit=PAYMENTS_PER_PAGE)
    if end is None:
        tx.run("reconciliation_runs.finish", **names, found=found)
        return 0
    position = {"merchant_id": str(end["merchant_id"]), "payment_id": str(end["payment_id"])}
    tx.run("reconciliation_runs.move", **names, position=position, found=found)
    return PAYMENTS_PER_PAGE
