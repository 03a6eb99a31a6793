"""Asks a provider about its account as a whole: one question written down, sent, answered, and the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.db import Tx
from app.model.outcome import Ok, Refused, Reply
from app.providers.protocol import ProviderRequest, Step
from app.services import circuits, operations
from app.services.operations import OpenCall
from jobs.observe import FetchRefused, wait_for_answer
from jobs.run import Run

# One delivery asks at most so often, then it waits for its turn again; its place is on record.
QUESTIONS_PER_RUN = 100


@dataclass(frozen=True)
class Question:
    """One request, written down and ready to be sent; `asked` is what it was made from."""

    open: OpenCall
    request: ProviderRequest
    asked: Mapping[str, Any]
    number: int = 1


# Stores an answer in its transaction; the next question, or None when it has ended the run.
Record = Callable[[Tx, Question, Ok], Question | None]


def open_question(
    run: Run, tx: Tx, step: Step, *, ref: str | None = None, number: int = 1, **asked: Any
) -> Question | None:
    """Write the question down; None when it is left for later: by a circuit, a worker's end, or for others' turn."""
    provider, timing = run.runtime.provider, run.runtime.timing
    wait = circuits.admission_wait(tx, provider.name, provider.account, timing)
    if wait > 0:
        run.defer(tx, wait, "circuit_open")
        return None
    if run.runtime.draining.is_set():
        run.leave(tx)
        return None
    if number > QUESTIONS_PER_RUN:
        run.defer(tx, 0.0, "goes_on")
        return None
    request = provider.prepare(step, asked, ref=ref, key=None)
    opened = operations.open_call(
        tx,
        merchant_id=run.delivery["merchant_id"],
        payment_id=None,
        operation_id=None,
        lease_token=None,
        provider=provider.name,
        account=provider.account,
        step=step.value,
        attempt=None,
        method=request.method,
        path=request.path,
        idempotency_key=None,
        request=request.redacted,
        request_sha256=request.params_sha256,
    )
    return Question(opened, request, asked, number)


def answer_questions(run: Run, question: Question | None, record: Record) -> None:
    """Send, record, and ask on while `record` has another question; its last transaction ends the run."""
    while question is not None:
        reply = run.send(question.request)
        question = _record(run, question, reply, record)


def _record(run: Run, question: Question, reply: Reply, record: Record) -> Question | None:
    provider = run.runtime.provider

    def work(tx: Tx) -> Question | None:
        operations.complete_call(tx, question.open, reply.outcome, reply.evidence, late=False)
        if not isinstance(reply.outcome, Ok):
            wait_for_answer(run, tx, reply.outcome)
            return None
        following = record(tx, question, reply.outcome)
        # after everything else: circuits come last in the lock order
        circuits.close(tx, provider.name, provider.account)
        return following

    following = run.record(work)
    if isinstance(reply.outcome, Refused):
        raise FetchRefused(f"{reply.outcome.code} for {question.request.path}")
    return following
