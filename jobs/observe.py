"""Fetches one payment's provider object and applies it; a fetch that was overtaken is repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.db import Tx
from app.model.outcome import Ambiguous, Evidence, NotExecuted, Ok, Outcome, Refused
from app.model.snapshot import Snapshot
from app.model.walk import Verdict
from app.providers.protocol import ProviderRequest, Step
from app.services import circuits, operations
from app.services.operations import OpenCall
from app.services.snapshots import apply_snapshot
from jobs.run import Run

# A payment observed by others this often while we fetched is busy enough to be left alone for a moment.
FETCHES_PER_RUN = 5


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
    subject: Subject
    open: OpenCall
    request: ProviderRequest
    observed_version: int


def open_fetch(run: Run, tx: Tx, subject: Subject) -> Fetch | None:
    """Write the question down; None when the run was deferred because the circuit is open."""
    provider, timing = run.runtime.provider, run.runtime.timing
    wait = circuits.admission_wait(tx, provider.name, provider.account, timing)
    if wait > 0:
        run.defer(tx, wait, "circuit_open")
        return None
    ids = {"merchant_id": subject.merchant_id, "payment_id": subject.payment_id}
    payment = tx.one("payments.observed_version", **ids)
    assert payment is not None, f"payment {subject.payment_id} was just found"
    request = provider.prepare(Step.FETCH, {"metadata": ids}, ref=subject.ref, key=None)
    opened = operations.open_call(
        tx,
        **ids,
        operation_id=None,
        lease_token=None,
        provider=provider.name,
        account=provider.account,
        step=Step.FETCH.value,
        attempt=None,
        method=request.method,
        path=request.path,
        idempotency_key=None,
        request=request.redacted,
        request_sha256=request.params_sha256,
    )
    return Fetch(subject, opened, request, payment["observed_version"])


def finish_fetches(run: Run, fetch: Fetch | None) -> None:
    """Send, apply, and end the run; fetches again while somebody else observed the payment meanwhile."""
    fetches_left = FETCHES_PER_RUN
    while fetch is not None:
        fetches_left -= 1
        fetch = _send_and_record(run, fetch, again=fetches_left > 0)


def _send_and_record(run: Run, fetch: Fetch, *, again: bool) -> Fetch | None:
    reply = run.runtime.provider.send(fetch.request)
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
        case Ok(snapshot=Snapshot() as snapshot):
            following = _apply(run, tx, fetch, snapshot, again=again)
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
        observed_version=fetch.observed_version,
        timing=run.runtime.timing,
    )
    if applied.outdated and again and not run.runtime.draining.is_set():
        return open_fetch(run, tx, subject)
    if applied.outdated:
        run.defer(tx, run.runtime.timing.not_there_yet, "overtaken")
        return None
    if applied.verdict is Verdict.TOO_EARLY:
        run.defer(tx, run.runtime.timing.not_there_yet, "not_there_yet")
    else:
        # an operation that waits to ask what became of it need not: the provider has just told us
        tx.run("deliveries.hurry", merchant_id=subject.merchant_id, payment_id=subject.payment_id)
        run.done(tx)
    return None


def subject_of(payment: dict[str, Any], ref: str) -> Subject:
    return Subject(str(payment["merchant_id"]), str(payment["id"]), ref)
