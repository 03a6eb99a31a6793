"""reconciliation.payout_due: fetch a payout, and once the provider has itemised it every line that it is made of."""

from __future__ import annotations

from typing import Any

from app.db import Tx
from app.model.actor import ActorType
from app.model.outcome import Ok
from app.providers.protocol import Step
from app.services import provider_book
from jobs.ask_provider import Question, answer_questions, open_question
from jobs.handlers.handler import RemoteHandler
from jobs.run import Run


def handle(run: Run) -> None:
    question = run.begin(lambda tx: open_question(run, tx, Step.FETCH_PAYOUT, ref=run.delivery["payload"]["ref"]))
    answer_questions(run, question, lambda tx, asked, told: record(run, tx, asked, told))


def record(run: Run, tx: Tx, question: Question, told: Ok) -> Question | None:
    provider, merchant_id, ref = run.runtime.provider, run.delivery["merchant_id"], run.delivery["payload"]["ref"]
    name, account = provider.name, provider.account
    following: str | None = None
    if question.request.step is Step.FETCH_PAYOUT:
        assert told.payout is not None, "a payout was asked for"
        provider_book.store_payout(tx, merchant_id, name, account, told.payout)
        if not told.payout.itemised:
            # one that was called off waits for its lines no more; of any other the clock asks again
            provider_book.compare_payout(tx, merchant_id, name, account, ref, timing=run.runtime.timing)
            _finish(run, tx, {"status": told.payout.status})
            return None
    else:
        provider_book.store_lines(tx, name, account, told.lines)
        provider_book.itemise(tx, name, account, ref, told.lines)
        if told.next_page is None:
            provider_book.lines_are_read(tx, merchant_id, name, account, ref)
            compared = provider_book.compare_payout(tx, merchant_id, name, account, ref, timing=run.runtime.timing)
            _finish(run, tx, {"expected": compared["expected"], "actual": compared["actual"]})
            return None
        following = told.next_page
    return open_question(
        run, tx, Step.LIST_PAYOUT_LINES, number=question.number + 1, payout=ref, starting_after=following
    )


def _finish(run: Run, tx: Tx, found: dict[str, Any]) -> None:
    tx.run(
        "reconciliation_runs.finish",
        merchant_id=run.delivery["merchant_id"],
        run_id=run.delivery["payload"]["run_id"],
        found=found,
    )
    run.done(tx)


HANDLER = RemoteHandler("read_payout", handle, actor_type=ActorType.RECONCILER)
