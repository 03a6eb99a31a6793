"""What the clock asks for by the hour and the day: the provider's changes, its balance, a night of comparing books."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.config import Timing
from app.db import Tx
from app.services import provider_book, reconciliation
from app.services.reconciliation import LedgerPlace
from jobs.reconcile import PAYMENTS_PER_BATCH
from jobs.runtime import Runtime
from jobs.sweep_pass import sweep_pass

# A night is walked by key. A page is read in one statement and locks nothing: a tenth of a second of reading. Of
# those that are amiss so many are locked and compared in its transaction, and the page ends there.
PAYMENTS_PER_PAGE = 1_000
AMISS_PER_PAGE = PAYMENTS_PER_BATCH
PAGES_PER_PASS = 25
LINES_PER_PASS = 500
# An account is paid out once a day; so many that were not itemised are the backlog of months.
PAYOUTS_PER_PASS = 50
# The books are walked by key as well; an entry is a few lines, an account of a merchant one sum.
LEDGER_PAGE = 2_000
LEDGER_PAGES_PER_PASS = 125

_FIRST = "00000000-0000-0000-0000-000000000000"


def owed(timing: Timing) -> dict[str, float]:
    """What is to be asked for in every window of so many seconds."""
    return {
        "changes": timing.changes_every,
        "balance": timing.balance_every,
        "nightly": timing.night_every,
        "ledger": timing.night_every,
    }


def request_runs_once(runtime: Runtime) -> int:
    """Ask for what this hour and this day are owed: once for each, by whichever worker is first."""

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
            for kind, every in owed(runtime.timing).items()
        )

    return sweep_pass(runtime, "runs", work)


def prove_again_once(runtime: Runtime) -> int:
    """A balance that was found to differ is proved again and again, so that it closes when what was missing comes."""

    def work(tx: Tx) -> int:
        name, account, every = runtime.provider.name, runtime.provider.account, runtime.timing.prove_again
        return provider_book.prove_again(tx, name, account, asked_by="clock", every=every)

    return sweep_pass(runtime, "proofs", work)


def compare_lines_once(runtime: Runtime) -> int:
    """The provider's lines that are nobody's: those that waited too long, and those whose payment was found."""

    def work(tx: Tx) -> int:
        found = provider_book.compare_lines(tx, limit=LINES_PER_PASS, timing=runtime.timing, detected_by="clock")
        return int(found["opened"] + found["closed"])

    return sweep_pass(runtime, "lines", work)


def ask_about_payouts_once(runtime: Runtime) -> int:
    """Payouts that were not itemised when they were read: they are asked about again, and flagged after some days."""

    def work(tx: Tx) -> int:
        name, account, timing = runtime.provider.name, runtime.provider.account, runtime.timing
        asked = provider_book.ask_about_unread_payouts(
            tx, name, account, limit=PAYOUTS_PER_PASS, every=timing.payout_again
        )
        return asked + provider_book.compare_unread_payouts(tx, limit=PAYOUTS_PER_PASS, timing=timing)

    return sweep_pass(runtime, "payouts", work)


def compare_night_once(runtime: Runtime) -> int:
    """Some pages of the night that is under way; returns how many payments were read."""
    compared = 0
    for _ in range(PAGES_PER_PASS):
        page = sweep_pass(runtime, "night", lambda tx: _compare_page(runtime, tx))
        compared += page
        if page == 0 or runtime.draining.is_set():
            break
    return compared


def _compare_page(runtime: Runtime, tx: Tx) -> int:
    """One page by key; 0 when there is no night, or this was its end."""
    night = tx.one("reconciliation_runs.open_walk", kind="nightly")
    if night is None:
        return 0
    at: dict[str, Any] = {"merchant_id": _FIRST, "payment_id": _FIRST} | night["position"]
    names = {"merchant_id": night["merchant_id"], "run_id": night["id"]}
    before = {"payments": 0, "opened": 0, "closed": 0} | night["found"]
    page, compared = reconciliation.compare_night(
        tx, at, limit=PAYMENTS_PER_PAGE, most=AMISS_PER_PAGE, back=runtime.timing.night_back, timing=runtime.timing
    )
    found = {
        "payments": before["payments"] + (page["payments"] if page else 0),
        "opened": before["opened"] + compared.opened,
        "closed": before["closed"] + compared.closed,
    }
    if page is None or page["is_last"]:
        tx.run("reconciliation_runs.finish", **names, found=found)
        return 0
    position = {"merchant_id": str(page["merchant_id"]), "payment_id": str(page["payment_id"])}
    tx.run("reconciliation_runs.move", **names, position=position, found=found)
    return max(1, int(page["payments"]))


def compare_ledger_once(runtime: Runtime) -> int:
    """Some pages of the walk over the books that is under way; returns how many pages were compared."""
    compared = 0
    for _ in range(LEDGER_PAGES_PER_PASS):
        page = sweep_pass(runtime, "ledger", _compare_ledger_page)
        compared += page
        if page == 0 or runtime.draining.is_set():
            break
    return compared


def _compare_ledger_page(tx: Tx) -> int:
    """One page; 0 when there is no walk."""
    walk = tx.one("reconciliation_runs.open_walk", kind="ledger")
    if walk is None:
        return 0
    names = {"merchant_id": walk["merchant_id"], "run_id": walk["id"]}
    was = walk["position"]
    at = LedgerPlace(was["part"], UUID(was["merchant_id"]), UUID(was["id"])) if was else LedgerPlace()
    opened, following = reconciliation.compare_ledger(tx, at, limit=LEDGER_PAGE, detected_by="daily")
    before = {"pages": 0, "opened": 0} | walk["found"]
    found = {"pages": before["pages"] + 1, "opened": before["opened"] + opened}
    if following is None:
        tx.run("reconciliation_runs.finish", **names, found=found)
    else:
        position = {name: str(value) for name, value in vars(following).items()}
        tx.run("reconciliation_runs.move", **names, position=position, found=found)
    return 1
