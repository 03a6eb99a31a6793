"""Drives one operation to a definite outcome: claim, call, record; an unknown outcome is resolved by asking.

Every decision is made under the payment's lock from what is stored, so any run can go on where another was killed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.db import Tx
from app.model.operation import Kind, cancel_params
from app.model.outcome import Ambiguous, Misuse, NotExecuted, Ok, Refused, Reply
from app.model.snapshot import ProviderStatus, Snapshot
from app.model.states import CLOSED, State
from app.providers.protocol import Provider, ProviderRequest, Step
from app.services import circuits, operations
from app.services.operations import OpenCall
from app.services.snapshots import apply_snapshot
from jobs.run import Run

# More HTTP calls than this in one run means we are going in circles: the delivery waits for its lease to end.
CALLS_PER_RUN = 12

Row = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """Written down, leased, ready to send. `asks` marks a question that moves nothing."""

    open: OpenCall
    request: ProviderRequest
    asks: bool
    was_unknown: bool
    observed_version: int


@dataclass(frozen=True)
class Wait:
    seconds: float
    why: str


@dataclass(frozen=True)
class Over:
    """The operation has its outcome, or there is nothing to do. `misuse`: a person has to look."""

    misuse: bool = False


Next = Call | Wait | Over
DRAINING = Wait(0.0, "draining")

# What the provider's status says about each kind of operation: it took effect, it did not (yet), or it never can.
# Cancel and close took effect when the object is closed, whatever it was before.
_DONE = {
    Kind.SUBMIT: frozenset(ProviderStatus) - {ProviderStatus.CREATED},
    Kind.CAPTURE: frozenset({ProviderStatus.SUCCEEDED}),
}
_NEVER = {
    Kind.SUBMIT: frozenset[ProviderStatus](),
    Kind.CAPTURE: frozenset(
        {ProviderStatus.CREATED, ProviderStatus.ACTION_REQUIRED, ProviderStatus.FAILED, ProviderStatus.CANCELED}
    ),
    Kind.CANCEL: frozenset({ProviderStatus.SUCCEEDED}),
    Kind.CLOSE: frozenset({ProviderStatus.SUCCEEDED}),
}


def drive(run: Run, find_operation: Callable[[Tx], str | None]) -> None:
    """Run until the delivery is done or has to wait. `find_operation` returns None when there is nothing to do."""
    driver = Driver(run)

    def first(tx: Tx) -> Next:
        operation_id = find_operation(tx)
        upcoming = driver.decide(tx, operation_id) if operation_id else Over()
        driver.end(tx, upcoming)
        return upcoming

    upcoming = run.begin(first)
    while isinstance(upcoming, Call):
        upcoming = driver.send_and_record(upcoming)


class Driver:
    """The protocol for one run; holds no truth of its own between transactions."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.provider: Provider = run.runtime.provider
        self.timing = run.runtime.timing
        self.calls_left = CALLS_PER_RUN

    @property
    def draining(self) -> bool:
        """This worker is to end: no further call is begun, another worker goes on at once."""
        return self.run.runtime.draining.is_set()

    def send_and_record(self, call: Call) -> Next:
        """One HTTP call with no transaction open, then one transaction for what it means."""
        self.calls_left -= 1
        reply = self.provider.send(call.request)
        return self.run.record(lambda tx: self.record_and_end(tx, call, reply))

    def end(self, tx: Tx, upcoming: Next) -> None:
        """Mark the delivery in the same transaction as what led here."""
        if isinstance(upcoming, Over):
            if upcoming.misuse:
                self.run.bury(tx, "misuse")
            else:
                self.run.done(tx)
        elif isinstance(upcoming, Wait):
            self.run.defer(tx, upcoming.seconds, upcoming.why)

    def record_and_end(self, tx: Tx, call: Call, reply: Reply) -> Next:
        upcoming = self.record(tx, call, reply)
        self.end(tx, upcoming)
        return upcoming

    # -- deciding ------------------------------------------------------------------------------------------------

    def decide(self, tx: Tx, operation_id: str) -> Next:
        """The next call of an operation, from what is stored."""
        payment, operation = self._lock(tx, operation_id)
        if operation["outcome"] is not None:
            return Over()
        if operation["status"] == "in_flight":
            if operation["leased"]:
                return Wait(operation["lease_left"], "in_flight")
            operation = self._expire(tx, payment, operation)
        if self.draining:
            return DRAINING
        wait = circuits.admission_wait(tx, self.provider.name, self.provider.account, self.timing)
        if wait > 0:
            return Wait(wait, "circuit_open")
        if operation["status"] == "pending":
            return self._perform(tx, payment, operation, operation["step"], operation["attempt"])
        if operation["step"] == Step.CREATE:
            # creating moves no money and its key makes it the same object: sending it again is the way to ask
            return self._try_again(tx, payment, operation, proof_call_id=None)
        return self._ask(tx, payment, operation)

    def _lock(self, tx: Tx, operation_id: str) -> tuple[Row, Row]:
        ids = {"merchant_id": self.run.delivery["merchant_id"]}
        payment = tx.one("payments.lock", **ids, payment_id=self.run.delivery["payment_id"])
        operation = tx.one("operations.lock", **ids, operation_id=operation_id)
        assert payment is not None and operation is not None, f"operation {operation_id} and its payment exist"
        return payment, operation

    def _expire(self, tx: Tx, payment: Row, operation: Row) -> Row:
        tx.run("operations.expire_lease", merchant_id=operation["merchant_id"], operation_id=operation["id"])
        self._lose_track(tx, payment, operation)
        return {**operation, "status": "unknown"}

    def _lose_track(self, tx: Tx, payment: Row, operation: Row) -> None:
        if operation["kind"] == Kind.SUBMIT and payment["state"] == State.SUBMITTING:
            self._move(tx, payment, State.OUTCOME_UNKNOWN)

    def _try_again(self, tx: Tx, payment: Row, operation: Row, *, proof_call_id: str | None) -> Next:
        """The same key while it surely still means the same attempt; a further attempt only with proof."""
        attempt = tx.one(
            "operations.attempt",
            merchant_id=operation["merchant_id"],
            operation_id=operation["id"],
            step=operation["step"],
        )
        assert attempt is not None, (
            f"operation {operation['id']} has sent {operation['step']} before its outcome was unknown"
        )
        over = attempt["saved_error"] or attempt["age"] > self.timing.key_reusable_for
        if not over:
            return self._perform(tx, payment, operation, operation["step"], attempt["n"])
        proof = proof_call_id or str(attempt["last_call_id"])
        return self._perform(tx, payment, operation, operation["step"], attempt["n"] + 1, proof_call_id=proof)

    def _perform(
        self, tx: Tx, payment: Row, operation: Row, step: str, n: int, *, proof_call_id: str | None = None
    ) -> Next:
        if self.calls_left == 0:
            return Wait(self.timing.lease, "too_many_calls")
        if operation["kind"] == Kind.SUBMIT and payment["state"] in CLOSED:
            return self._abandon(tx, payment, operation)
        if operation["kind"] == Kind.SUBMIT and step == Step.CONFIRM and payment["state"] == State.OUTCOME_UNKNOWN:
            self._move(tx, payment, State.SUBMITTING)
        key = operations.begin_attempt(tx, operation, step, n, proof_call_id=proof_call_id)
        token = operations.take_lease(tx, operation, step=step, attempt=n, seconds=self.timing.lease)
        return self._open(tx, payment, operation, Step(step), token, attempt=n, key=key)

    def _abandon(self, tx: Tx, payment: Row, operation: Row) -> Over:
        """The payment ended meanwhile: nothing further is sent for it, and what exists of it is closed."""
        step, attempt = operation["step"], operation["attempt"]
        token = operations.take_lease(tx, operation, step=step, attempt=attempt, seconds=self.timing.lease)
        operations.settle_lease(
            tx, operation, token, status="failed", asks=operation["asks"], outcome="overtaken", code=payment["state"]
        )
        if payment["state"] == State.CANCELED and payment["provider_ref"] is not None:
            close_orphan(tx, payment, payment["provider_ref"])
        return Over()

    def _ask(self, tx: Tx, payment: Row, operation: Row) -> Next:
        if self.calls_left == 0:
            return Wait(self.timing.lease, "too_many_calls")
        token = operations.take_lease(
            tx, operation, step=operation["step"], attempt=operation["attempt"], seconds=self.timing.lease
        )
        return self._open(tx, payment, operation, Step.FETCH, token, attempt=None, key=None)

    def _open(
        self, tx: Tx, payment: Row, operation: Row, step: Step, token: str, *, attempt: int | None, key: str | None
    ) -> Call:
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
        return Call(
            opened,
            request,
            asks=step is Step.FETCH,
            was_unknown=operation["status"] == "unknown",
            observed_version=payment["observed_version"],
        )

    # -- recording -----------------------------------------------------------------------------------------------

    def record(self, tx: Tx, call: Call, reply: Reply) -> Next:
        """Store how the call ended and decide what follows; a late result is kept and changes nothing."""
        assert call.open.operation_id is not None
        payment, operation = self._lock(tx, call.open.operation_id)
        held = str(operation["lease_token"]) == call.open.lease_token and operation["outcome"] is None
        operations.complete_call(tx, call.open, reply.outcome, reply.evidence, late=not held)
        self._count(tx, reply)
        if not held:
            return self.decide(tx, call.open.operation_id)
        match reply.outcome:
            case Ok(snapshot=Snapshot() as snapshot):
                return self._ok(tx, call, payment, operation, snapshot)
            case Refused() as refused:
                return self._refused(tx, call, payment, operation, refused)
            case NotExecuted() as turned_away:
                status = "unknown" if call.asks or call.was_unknown else "pending"
                self._give(tx, call, operation, status=status)
                return Wait(turned_away.retry_after or self.timing.not_executed_wait, turned_away.reason)
            case Misuse() as misuse:
                self._give(tx, call, operation, status="unknown", message=misuse.detail)
                self._lose_track(tx, payment, operation)
                return Over(misuse=True)
            case Ambiguous():
                return self._unknown(tx, call, payment, operation)
            case _:
                raise AssertionError(f"a {call.request.step} answers with a snapshot, not {reply.outcome!r}")

    def _count(self, tx: Tx, reply: Reply) -> None:
        name, account = self.provider.name, self.provider.account
        match reply.outcome:
            case Ambiguous(detail=detail):
                circuits.count_failure(tx, name, account, self.timing, reason=detail)
            case NotExecuted(reason=reason, opens_circuit=True):
                circuits.count_failure(tx, name, account, self.timing, reason=reason, at_once=True)
            case NotExecuted():
                pass
            case _:
                circuits.close(tx, name, account)

    def _ok(self, tx: Tx, call: Call, payment: Row, operation: Row, snapshot: Snapshot) -> Next:
        if call.request.step is Step.CREATE:
            return self._created(tx, call, payment, operation, snapshot)
        kind = Kind(operation["kind"])
        if operation["target_ref"] is None:
            applied = apply_snapshot(
                tx,
                str(payment["merchant_id"]),
                str(payment["id"]),
                snapshot,
                observed_version=call.observed_version if call.asks else None,
                timing=self.timing,
            )
            if applied.outdated:
                self._give(tx, call, operation, status="unknown")
                return self.decide(tx, str(operation["id"]))
        if snapshot.closed if kind in (Kind.CANCEL, Kind.CLOSE) else snapshot.status in _DONE[kind]:
            self._give(tx, call, operation, status="succeeded", outcome="ok", code=snapshot.status.value)
            return Over()
        if snapshot.status in _NEVER[kind]:
            self._give(tx, call, operation, status="failed", outcome="overtaken", code=snapshot.status.value)
            return Over()
        if not call.asks:
            return self._unknown(tx, call, payment, operation)
        if self.draining:
            self._give(tx, call, operation, status="unknown")
            return DRAINING
        payment = tx.one("payments.lock", merchant_id=payment["merchant_id"], payment_id=payment["id"]) or payment
        return self._try_again(tx, payment, operation, proof_call_id=call.open.call_id)

    def _created(self, tx: Tx, call: Call, payment: Row, operation: Row, snapshot: Snapshot) -> Next:
        """Commit the reference before money can move; an object beside the one we know is an orphan to close."""
        ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}
        if payment["provider_ref"] is None:
            tx.run("payments.set_provider_ref", **ids, provider_ref=snapshot.ref)
        elif payment["provider_ref"] != snapshot.ref:
            close_orphan(tx, payment, snapshot.ref)
        # confirming begins anew: what was asked about creating must not slow down the questions about money
        token = operations.take_lease(tx, operation, step=Step.CONFIRM, attempt=1, seconds=self.timing.lease)
        operations.settle_lease(tx, operation, token, status="pending", asks=0)
        if self.draining:
            return DRAINING
        locked = tx.one("payments.lock", **ids)
        assert locked is not None, "the payment is locked by this transaction"
        return self._perform(tx, locked, {**operation, "status": "pending"}, Step.CONFIRM, 1)

    def _refused(self, tx: Tx, call: Call, payment: Row, operation: Row, refused: Refused) -> Next:
        if refused.moved or call.asks:
            return self._unknown(tx, call, payment, operation)
        if refused.snapshot is not None and operation["target_ref"] is None:
            apply_snapshot(
                tx,
                str(payment["merchant_id"]),
                str(payment["id"]),
                refused.snapshot,
                observed_version=None,
                timing=self.timing,
            )
        if operation["kind"] == Kind.SUBMIT:
            self._fail_payment(tx, call, payment, refused)
        self._give(tx, call, operation, status="failed", outcome="refused", code=refused.code, message=refused.message)
        return Over()

    def _fail_payment(self, tx: Tx, call: Call, payment: Row, refused: Refused) -> None:
        locked = tx.one("payments.lock", merchant_id=payment["merchant_id"], payment_id=payment["id"])
        assert locked is not None, "the payment is locked by this transaction"
        state = State(locked["state"])
        # once confirm was sent, every path goes through submitted
        if call.request.step is Step.CONFIRM and state in (State.SUBMITTING, State.OUTCOME_UNKNOWN):
            self._move(tx, locked, State.SUBMITTED)
            state = State.SUBMITTED
        if state in (State.SUBMITTING, State.OUTCOME_UNKNOWN, State.SUBMITTED):
            self._move(tx, locked, State.FAILED, code=refused.code, message=refused.message)

    def _unknown(self, tx: Tx, call: Call, payment: Row, operation: Row) -> Next:
        """Nobody knows: ask at once, then ever more rarely; never guess."""
        asks = operation["asks"] + 1
        self._give(tx, call, operation, status="unknown", asks=asks)
        self._lose_track(tx, payment, operation)
        schedule = self.timing.resolve_schedule
        seconds = schedule[min(asks, len(schedule)) - 1]
        return Wait(seconds, "outcome_unknown") if seconds > 0 else self.decide(tx, str(operation["id"]))

    def _give(
        self,
        tx: Tx,
        call: Call,
        operation: Row,
        *,
        status: str,
        asks: int | None = None,
        outcome: str | None = None,
        code: str | None = None,
        message: str | None = None,
    ) -> None:
        assert call.open.lease_token is not None
        operations.settle_lease(
            tx,
            operation,
            call.open.lease_token,
            status=status,
            asks=operation["asks"] if asks is None else asks,
            outcome=outcome,
            code=code,
            message=message,
        )

    def _move(self, tx: Tx, payment: Row, state: State, *, code: str | None = None, message: str | None = None) -> None:
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
