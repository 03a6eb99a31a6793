"""Decides the next call of an operation, under its payment's lock and from what is stored, and writes it down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.db import Tx
from app.model.operation import Kind, cancel_params
from app.model.outcome import Refused
from app.model.states import CLOSED, State
from app.providers.protocol import Provider, ProviderRequest, Step
from app.services import circuits, operations, refunds
from app.services.operations import OpenCall
from jobs.questions import Question, open_question
from jobs.run import Run

# More HTTP calls than this in one run means we are going in circles: the delivery waits for its lease to end.
CALLS_PER_RUN = 12

Row = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """Written down, leased, ready to send. A `question` moves nothing."""

    open: OpenCall
    request: ProviderRequest
    was_unknown: bool
    observed_version: int
    question: Question | None = None
    refused: Refused | None = None  # what the question is asked after


@dataclass(frozen=True)
class Wait:
    seconds: float
    why: str


@dataclass(frozen=True)
class Leave:
    """This worker is to end: another goes on."""


@dataclass(frozen=True)
class Over:
    """The operation has its outcome, or there is nothing to do. `misuse`: a person has to look."""

    misuse: bool = False


Next = Call | Wait | Leave | Over


class Decider:
    """What follows for an operation in one run; holds no truth of its own between transactions."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.provider: Provider = run.runtime.provider
        self.timing = run.runtime.timing
        self.calls_left = CALLS_PER_RUN

    @property
    def draining(self) -> bool:
        """This worker is to end: no further call is begun, another worker goes on at once."""
        return self.run.runtime.draining.is_set()

    def decide(self, tx: Tx, operation_id: str) -> Next:
        """The next call of an operation, from what is stored."""
        payment, operation = self.lock(tx, operation_id)
        if operation["outcome"] is not None:
            return Over()
        if operation["status"] == "in_flight":
            if operation["leased"]:
                return Wait(operation["lease_left"], "in_flight")
            operation = self._expire(tx, payment, operation)
        if self.draining:
            return Leave()
        if operation["kind"] == Kind.REFUND and (ended := refunds.seen_at_provider(tx, operation)):
            return self._end_unsent(tx, operation, status="succeeded", outcome="ok", code=ended)
        wait = circuits.admission_wait(tx, self.provider.name, self.provider.account, self.timing)
        if wait > 0:
            return Wait(wait, "circuit_open")
        attempt = self._last_attempt(tx, operation)
        if operation["status"] == "pending" and (attempt is None or not self._is_used_up(attempt)):
            return self.perform(tx, payment, operation, operation["step"], operation["attempt"])
        # its outcome is open, or it was turned away so long ago that its key may mean nothing any more
        if operation["step"] == Step.CREATE:
            # creating moves no money and its key makes it the same object: sending it again is the way to ask
            return self.try_again(tx, payment, operation, proof_call_id=None)
        return self.ask(tx, payment, operation)

    def lock(self, tx: Tx, operation_id: str) -> tuple[Row, Row]:
        ids = {"merchant_id": self.run.delivery["merchant_id"]}
        payment = tx.one("payments.lock", **ids, payment_id=self.run.delivery["payment_id"])
        operation = tx.one("operations.lock", **ids, operation_id=operation_id)
        assert payment is not None and operation is not None, f"operation {operation_id} and its payment exist"
        return payment, operation

    def _expire(self, tx: Tx, payment: Row, operation: Row) -> Row:
        tx.run("operations.expire_lease", merchant_id=operation["merchant_id"], operation_id=operation["id"])
        lose_track(tx, payment, operation)
        return {**operation, "status": "unknown"}

    def try_again(self, tx: Tx, payment: Row, operation: Row, *, proof_call_id: str | None) -> Next:
        """The same key while it surely still means the same attempt; a further attempt only with proof."""
        attempt = self._last_attempt(tx, operation)
        assert attempt is not None, (
            f"operation {operation['id']} has sent {operation['step']} before its outcome was unknown"
        )
        if not self._is_used_up(attempt):
            return self.perform(tx, payment, operation, operation["step"], attempt["n"])
        proof = proof_call_id or str(attempt["last_call_id"])
        return self.perform(tx, payment, operation, operation["step"], attempt["n"] + 1, proof_call_id=proof)

    def _last_attempt(self, tx: Tx, operation: Row) -> Row | None:
        """The newest attempt of its step; None when the step was never sent."""
        ids = {"merchant_id": operation["merchant_id"], "operation_id": operation["id"]}
        return tx.one("operations.attempt", **ids, step=operation["step"])

    def _is_used_up(self, attempt: Row) -> bool:
        """Whether its key replays an error for ever, or may be forgotten: sent again it could be another attempt."""
        return bool(attempt["saved_error"] or attempt["age"] > self.timing.key_reusable_for)

    def perform(
        self,
        tx: Tx,
        payment: Row,
        operation: Row,
        step: str,
        n: int,
        *,
        proof_call_id: str | None = None,
        asks: int | None = None,
    ) -> Next:
        """Open the call that moves something, under its key. `asks`: where what was asked is counted anew."""
        if self.calls_left == 0:
            return Wait(self.timing.lease, "too_many_calls")
        if operation["kind"] == Kind.SUBMIT and payment["state"] in CLOSED:
            return self._abandon(tx, payment, operation)
        if operation["kind"] == Kind.SUBMIT and step == Step.CONFIRM and payment["state"] == State.OUTCOME_UNKNOWN:
            move(tx, payment, State.SUBMITTING)
        if operation["kind"] == Kind.REFUND:
            refunds.begin(tx, operation)
        key = operations.begin_attempt(tx, operation, step, n, proof_call_id=proof_call_id)
        token = operations.take_lease(tx, operation, step=step, attempt=n, seconds=self.timing.lease, asks=asks)
        return self._open(tx, payment, operation, Step(step), token, attempt=n, key=key)

    def _abandon(self, tx: Tx, payment: Row, operation: Row) -> Over:
        """The payment ended meanwhile: nothing further is sent for it, and what exists of it is closed."""
        if payment["state"] == State.CANCELED and payment["provider_ref"] is not None:
            close_orphan(tx, payment, payment["provider_ref"])
        return self._end_unsent(tx, operation, status="failed", outcome="overtaken", code=payment["state"])

    def _end_unsent(self, tx: Tx, operation: Row, *, status: str, outcome: str, code: str) -> Over:
        """Nothing is left to send: the outcome is known from elsewhere."""
        step, attempt = operation["step"], operation["attempt"]
        token = operations.take_lease(tx, operation, step=step, attempt=attempt, seconds=self.timing.lease)
        operations.settle_lease(tx, operation, token, status=status, asks=operation["asks"], outcome=outcome, code=code)
        return Over()

    def ask(
        self,
        tx: Tx,
        payment: Row,
        operation: Row,
        *,
        question: Question | None = None,
        observed_version: int | None = None,
        refused: Refused | None = None,
    ) -> Next:
        """Open the question what became of it, or the next one of the series, under a lease of its own."""
        if self.calls_left == 0:
            return Wait(self.timing.lease, "too_many_calls")
        question = question or Question()
        token = operations.take_lease(
            tx, operation, step=operation["step"], attempt=operation["attempt"], seconds=self.timing.lease
        )
        opened, request = open_question(
            tx,
            self.provider,
            question,
            {"merchant_id": operation["merchant_id"], "payment_id": payment["id"]},
            ref=operation["target_ref"] or payment["provider_ref"],
            operation_id=operation["id"],
            lease_token=token,
        )
        version = payment["observed_version"] if observed_version is None else observed_version
        return Call(
            opened,
            request,
            was_unknown=operation["status"] == "unknown",
            observed_version=version,
            question=question,
            refused=refused,
        )

    def _open(self, tx: Tx, payment: Row, operation: Row, step: Step, token: str, *, attempt: int, key: str) -> Call:
        ref = operation["target_ref"] or payment["provider_ref"]
        request = self.provider.prepare(step, operation["params"], ref=ref, key=key)
        opened = operations.open_call(
            tx,
            merchant_id=operation["merchant_id"],
            payment_id=payment["id"],
            operation_id=operation["id"],
            lease_token=token,
            provider=self.provider.name,
            account=self.provider.account,
            step=step.value,
            attempt=attempt,
            method=request.method,
            path=request.path,
            idempotency_key=key,
            request=request.redacted,
            request_sha256=request.params_sha256,
        )
        was_unknown = operation["status"] == "unknown"
        return Call(opened, request, was_unknown=was_unknown, observed_version=payment["observed_version"])


def lose_track(tx: Tx, payment: Row, operation: Row) -> None:
    """Nobody knows how the last call ended: what it was to move is told so. Both locks are held."""
    if operation["kind"] == Kind.SUBMIT and payment["state"] == State.SUBMITTING:
        move(tx, payment, State.OUTCOME_UNKNOWN)
    if operation["kind"] == Kind.REFUND:
        refunds.lose_track(tx, operation)


def move(tx: Tx, payment: Row, state: State, *, code: str | None = None, message: str | None = None) -> None:
    """One step of the payment that no snapshot explains."""
    tx.run(
        "payments.move",
        merchant_id=payment["merchant_id"],
        payment_id=payment["id"],
        state=state.value,
        failure_code=code,
        failure_message=message,
    )


def close_orphan(tx: Tx, payment: Row, ref: str) -> None:
    """An object at the provider that carries our ids and is not the payment's own: it must never be charged."""
    ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}
    if tx.one("operations.closing_of", **ids, target_ref=ref):
        return
    operation_id = str(tx.one("operations.new_id")["id"])  # type: ignore[index]
    params = cancel_params(payment, operation_id, reason="duplicate")
    operations.open_operation(
        tx, payment, Kind.CLOSE, params, operation_id=operation_id, reason="orphan", target_ref=ref
    )
