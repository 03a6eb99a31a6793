"""Fetches one payment as its provider sees it and applies it; a fetch that was overtaken is repeated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.db import Tx
from app.model.outcome import Ambiguous, Evidence, NotExecuted, Ok, Outcome, Refused
from app.model.snapshot import Snapshot
from app.model.walk import Verdict
from app.providers.protocol import ProviderRequest
from app.services import circuits, operations
from app.services.operations import OpenCall
from app.services.snapshots import apply_snapshot
from jobs.questions import Question, next_question, open_question, put_together
from jobs.run import Run

# A payment observed by others this often while we fetched is busy enough to be left alone for a moment.
FETCHES_PER_RUN = 5
# Webhooks of these kinds are about a refund or a dispute, which the charge need not tell of: only an observation of it
# whole answers them.
CHILD_EVENTS = ("charge.dispute.", "charge.refund", "refund.")


class FetchRefused(Exception):
    """The provider does not let us see its object: a failure, for a person to look at in the end."""


@dataclass(frozen=True)
class Subject:
    """Which payment, under its own merchant, and which object at the provider."""

    merchant_id: str
    payment_id: str
    ref: str


@dataclass(frozen=True)
class Fetch:
    """One question of the series that sees a payment; all of it carries what was known before the first."""

    subject: Subject
    open: OpenCall
    request: ProviderRequest
    before: Before
    question: Question
    whole: bool


@dataclass(frozen=True)
class Before:
    """What was known before the first question was sent: the payment's version, the time, and what it is to answer."""

    observed_version: int
    asked_at: datetime
    told_at: datetime | None


def open_fetch(
    run: Run, tx: Tx, subject: Subject, *, whole: bool = False, told_at: datetime | None = None
) -> Fetch | None:
    """Write the first question down; None when the run was deferred because the circuit is open.

    `whole`: ask about refunds and disputes too, even where the charge tells of none. `told_at`, UTC: an observation
    by another that began after this moment would do as well.
    """
    provider, timing = run.runtime.provider, run.runtime.timing
    wait = circuits.admission_wait(tx, provider.name, provider.account, timing)
    if wait > 0:
        run.defer(tx, wait, "circuit_open")
        return None
    payment = tx.one("payments.observed_version", merchant_id=subject.merchant_id, payment_id=subject.payment_id)
    assert payment is not None, f"payment {subject.payment_id} was just found"
    before = Before(payment["observed_version"], payment["asked_at"], told_at)
    return _open(run, tx, subject, Question(), before, whole=whole or payment["has_children"])


def is_answered(run: Run, tx: Tx, subject: Subject, told_at: datetime) -> bool:
    """Whether one begun after `told_at` was applied, or will be; then this run has ended, done or waiting."""
    ids = {"merchant_id": subject.merchant_id, "payment_id": subject.payment_id}
    tx.one("payments.lock", **ids)
    found = tx.one("payments.seen_since", **ids, moment=told_at, lease=run.runtime.timing.lease)
    assert found is not None, f"payment {subject.payment_id} was just found"
    if found["seen"]:
        run.done(tx)
    elif found["being_seen"]:
        # whoever observes it ends this delivery too; the wait is for the case that it cannot
        run.defer(tx, run.runtime.timing.not_there_yet, "being_fetched")
    return bool(found["seen"] or found["being_seen"])


def _open(run: Run, tx: Tx, subject: Subject, question: Question, before: Before, *, whole: bool) -> Fetch:
    ids = {"merchant_id": subject.merchant_id, "payment_id": subject.payment_id}
    opened, request = open_question(tx, run.runtime.provider, question, ids, ref=subject.ref)
    return Fetch(subject, opened, request, before, question, whole)


def finish_fetches(run: Run, fetch: Fetch | None) -> None:
    """Send, apply, and end the run; fetches again while somebody else observed the payment meanwhile."""
    fetches_left = FETCHES_PER_RUN
    while fetch is not None:
        fetches_left -= fetch.question.seen is None
        fetch = _send_and_record(run, fetch, again=fetches_left > 0)


def _send_and_record(run: Run, fetch: Fetch, *, again: bool) -> Fetch | None:
    reply = run.send(fetch.request)
    if isinstance(reply.outcome, Refused):
        run.record(lambda tx: _complete(run, tx, fetch, reply.outcome, reply.evidence))
        raise FetchRefused(f"{reply.outcome.code} for {fetch.subject.ref}")
    return run.record(lambda tx: _record(run, tx, fetch, reply.outcome, reply.evidence, again=again))


def _complete(run: Run, tx: Tx, fetch: Fetch, outcome: Outcome, evidence: Evidence) -> None:
    provider = run.runtime.provider
    operations.complete_call(tx, fetch.open, outcome, evidence, late=False)
    circuits.close(tx, provider.name, provider.account)


def _record(run: Run, tx: Tx, fetch: Fetch, outcome: Outcome, evidence: Evidence, *, again: bool) -> Fetch | None:
    provider = run.runtime.provider
    operations.complete_call(tx, fetch.open, outcome, evidence, late=False)
    match outcome:
        case Ok() as answer:
            question = next_question(fetch.question, answer, whole=fetch.whole)
            if question is not None and not run.runtime.draining.is_set():
                following = _open(run, tx, fetch.subject, question, fetch.before, whole=fetch.whole)
            elif question is not None:
                run.leave(tx)
                following = None
            else:
                following = _apply(run, tx, fetch, put_together(fetch.question, answer), again=again)
            # after the payment: circuits come last in the lock order
            circuits.close(tx, provider.name, provider.account)
            return following
        case _:
            wait_for_answer(run, tx, outcome)
    return None


def wait_for_answer(run: Run, tx: Tx, outcome: Outcome) -> None:
    """A question that got no answer: the circuit counts it, and the delivery waits uncounted."""
    provider, timing = run.runtime.provider, run.runtime.timing
    name, account = provider.name, provider.account
    match outcome:
        case NotExecuted() as turned_away:
            if turned_away.opens_circuit:
                circuits.count_failure(tx, name, account, timing, reason=turned_away.reason, at_once=True)
            run.defer(tx, turned_away.retry_after or timing.not_executed_wait, turned_away.reason)
        case Ambiguous(detail=detail):
            circuits.count_failure(tx, name, account, timing, reason=detail)
            run.defer(tx, timing.not_there_yet, "provider_unreachable")
        case Refused():
            circuits.close(tx, name, account)
        case _:
            raise AssertionError(f"a question is answered, turned away or lost, not {outcome!r}")


def _apply(run: Run, tx: Tx, fetch: Fetch, snapshot: Snapshot, *, again: bool) -> Fetch | None:
    subject = fetch.subject
    applied = apply_snapshot(
        tx,
        subject.merchant_id,
        subject.payment_id,
        snapshot,
        observed_version=fetch.before.observed_version,
        timing=run.runtime.timing,
        asked_at=fetch.before.asked_at,
    )
    told_at = fetch.before.told_at
    if applied.outdated and told_at is not None and is_answered(run, tx, subject, told_at):
        return None
    if applied.outdated and run.runtime.draining.is_set():
        run.leave(tx)
        return None
    if applied.outdated and again:
        return open_fetch(run, tx, subject, whole=fetch.whole, told_at=told_at)
    if applied.outdated:
        run.defer(tx, run.runtime.timing.not_there_yet, "overtaken")
        return None
    if applied.verdict is Verdict.TOO_EARLY:
        run.defer(tx, run.runtime.timing.not_there_yet, "not_there_yet")
    else:
        # an operation that waits to ask what became of it need not: the provider has just told us
        tx.run("deliveries.hurry", merchant_id=subject.merchant_id, payment_id=subject.payment_id)
        _end_answered(run, tx, fetch)
        run.done(tx)
    return None


def _end_answered(run: Run, tx: Tx, fetch: Fetch) -> None:
    provider = run.runtime.provider
    tx.run(
        "deliveries.finish_answered",
        provider=provider.name,
        account=provider.account,
        ref=fetch.subject.ref,
        asked_at=fetch.before.asked_at,
        whole=fetch.whole,
        child_events=list(CHILD_EVENTS),
    )


def subject_of(payment: dict[str, Any], ref: str) -> Subject:
    return Subject(str(payment["merchant_id"]), str(payment["id"]), ref)
