"""reconciliation.balance_due: what our books say the provider holds is what it says; asked again while they differ."""

from __future__ import annotations

from typing import Any

from app.db import Tx
from app.model.actor import ActorType
from app.model.outcome import Ok
from app.providers.protocol import Step
from app.services import provider_book
from jobs.ask_provider import answer_questions, open_question
from jobs.handlers.handler import RemoteHandler
from jobs.run import Run


def handle(run: Run) -> None:
    question = run.begin(lambda tx: open_question(run, tx, Step.FETCH_BALANCE))
    answer_questions(run, question, lambda tx, asked, told: record(run, tx, told))


def record(run: Run, tx: Tx, told: Ok) -> None:
    provider = run.runtime.provider
    names: dict[str, Any] = {"merchant_id": run.delivery["merchant_id"], "run_id": run.delivery["payload"]["run_id"]}
    changes = tx.one("reconciliation_runs.get", **names)
    assert changes is not None, "the event names its run"
    again = run.runtime.timing.balance_again
    asked = changes["position"].get("asked", 0)
    # a proof of what is known to differ: it closes it or does not, and the next one is asked for by the clock
    once = changes["position"].get("once", False)
    final = not once and asked == len(again)
    compared = provider_book.compare_balance(
        tx, names["merchant_id"], provider.name, provider.account, told.balances, final=final
    )
    parts = {b.currency: {"pending": b.pending, "available": b.available} for b in told.balances}
    found = {
        row["currency"]: {"expected": row["expected"], "actual": row["actual"]} | parts.get(row["currency"], {})
        for row in compared
    }
    if not once and not final and any(row["expected"] != row["actual"] for row in compared):
        tx.run("reconciliation_runs.move", **names, position={"asked": asked + 1}, found=found)
        run.defer(tx, again[asked], "balances_differ")
        return
    tx.run("reconciliation_runs.finish", **names, found=found)
    run.done(tx)


HANDLER = RemoteHandler("prove_balance", handle, actor_type=ActorType.RECONCILER)
