"""Records how a call of an operation ended, what it means for the payment or the refund, and what follows."""

from __future__ import annotations

from app.db import Tx
from app.model.operation import Kind
from app.model.outcome import Ambiguous, Misuse, NotExecuted, Ok, Refused, Reply
from app.model.snapshot import ProviderStatus, Snapshot
from app.model.states import State
from app.providers.protocol import Step
from app.services import circuits, operations, refunds
from app.services.children import apply_refund
from app.services.snapshots import Applied, apply_snapshot
from jobs.decide import Call, Decider, Leave, Next, Over, Row, Wait, close_orphan, lose_track, move
from jobs.questions import Question, next_question, put_together

# What the provider's status says about each kind of operation: it took effect, it did not (yet), or it never can.
# Cancel and close took effect when the object is closed, whatever it was before; a refund when it is there.
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


class Recorder:
    """The recording half of one run."""

    def __init__(self, decider: Decider) -> None:
        self.decider = decider
        self.provider = decider.provider
        self.timing = decider.timing

    def record(self, tx: Tx, call: Call, reply: Reply) -> Next:
        """Store how the call ended and decide what follows; a late result is kept and changes nothing."""
        assert call.open.operation_id is not None
        payment, operation = self.decider.lock(tx, call.open.operation_id)
        held = str(operation["lease_token"]) == call.open.lease_token and operation["outcome"] is None
        operations.complete_call(tx, call.open, reply.outcome, reply.evidence, late=not held)
        self._count(tx, reply)
        if not held:
            return self.decider.decide(tx, call.open.operation_id)
        match reply.outcome:
            case Ok() as ok if call.question is not None:
                return self._answered(tx, call, call.question, payment, operation, ok)
            case Ok() as ok if call.request.step is Step.REFUND:
                apply_refund(tx, payment, ok.refunds[0])
                code = ok.refunds[0].provider_status
                return self._end(tx, call, operation, status="succeeded", outcome="ok", code=code)
            case Ok(snapshot=Snapshot() as snapshot):
                return self._ok(tx, call, payment, operation, snapshot)
            case Refused() as refused:
                return self._refused(tx, call, payment, operation, refused)
            case NotExecuted() as turned_away:
                status = "unknown" if call.question or call.was_unknown else "pending"
                self._give(tx, call, operation, status=status)
                return Wait(turned_away.retry_after or self.timing.not_executed_wait, turned_away.reason)
            case Misuse() as misuse:
                self._give(tx, call, operation, status="unknown", message=misuse.detail)
                lose_track(tx, payment, operation)
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

    # -- answers -------------------------------------------------------------------------------------------------

    def _answered(self, tx: Tx, call: Call, question: Question, payment: Row, operation: Row, answer: Ok) -> Next:
        """Ask on until the payment is seen as far as this operation needs it; then judge by what was seen."""
        following = next_question(question, answer, whole=operation["kind"] == Kind.REFUND)
        if following is None:
            return self._judge(tx, call, payment, operation, put_together(question, answer))
        if self.decider.draining:
            self._give(tx, call, operation, status="unknown")
            return Leave()
        status = "unknown" if call.was_unknown else operation["status"]
        return self.decider.ask(
            tx,
            payment,
            {**operation, "status": status},
            question=following,
            observed_version=call.observed_version,
            refused=call.refused,
        )

    def _judge(self, tx: Tx, call: Call, payment: Row, operation: Row, seen: Snapshot) -> Next:
        if operation["target_ref"] is None and self._apply(tx, payment, seen, call.observed_version).outdated:
            self._give(tx, call, operation, status="unknown")
            return self.decider.decide(tx, str(operation["id"]))
        if operation["kind"] == Kind.REFUND:
            return self._judge_refund(tx, call, payment, operation, seen)
        if ended := self._ended(tx, call, operation, seen):
            return ended
        if call.refused is not None:
            return self._end_refused(tx, call, operation, call.refused)
        return self._try_again(tx, call, payment, operation)

    def _judge_refund(self, tx: Tx, call: Call, payment: Row, operation: Row, seen: Snapshot) -> Next:
        """It is there, or it is not; and if it is not, it may go again, or never can."""
        if found := refunds.seen_at_provider(tx, operation):
            return self._end(tx, call, operation, status="succeeded", outcome="ok", code=found)
        if call.refused is not None:
            return self._refuse_refund(tx, call, payment, operation, call.refused)
        held = [dispute for dispute in seen.disputes or () if sum(fact.gross for fact in dispute.facts) < 0]
        if held or seen.amount_captured - seen.amount_refunded < operation["amount"]:
            code = "charge_disputed" if held else "charge_already_refunded"
            refunds.fail(tx, payment, operation, code)
            return self._end(tx, call, operation, status="failed", outcome="overtaken", code=code)
        return self._try_again(tx, call, payment, operation)

    def _try_again(self, tx: Tx, call: Call, payment: Row, operation: Row) -> Next:
        if self.decider.draining:
            self._give(tx, call, operation, status="unknown")
            return Leave()
        payment = tx.one("payments.lock", merchant_id=payment["merchant_id"], payment_id=payment["id"]) or payment
        return self.decider.try_again(tx, payment, operation, proof_call_id=call.open.call_id)

    def _ok(self, tx: Tx, call: Call, payment: Row, operation: Row, snapshot: Snapshot) -> Next:
        if call.request.step is Step.CREATE:
            return self._created(tx, call, payment, operation, snapshot)
        if operation["target_ref"] is None and self._apply(tx, payment, snapshot, None).outdated:
            self._give(tx, call, operation, status="unknown")
            return self.decider.decide(tx, str(operation["id"]))
        return self._ended(tx, call, operation, snapshot) or self._unknown(tx, call, payment, operation)

    def _ended(self, tx: Tx, call: Call, operation: Row, snapshot: Snapshot) -> Over | None:
        """The end of a submit, capture, cancel or close, if the status tells one."""
        kind, code = Kind(operation["kind"]), snapshot.status.value
        if snapshot.closed if kind in (Kind.CANCEL, Kind.CLOSE) else snapshot.status in _DONE[kind]:
            return self._end(tx, call, operation, status="succeeded", outcome="ok", code=code)
        if snapshot.status in _NEVER[kind]:
            return self._end(tx, call, operation, status="failed", outcome="overtaken", code=code)
        return None

    def _created(self, tx: Tx, call: Call, payment: Row, operation: Row, snapshot: Snapshot) -> Next:
        """Commit the reference before money can move; an object beside the one we know is an orphan to close."""
        ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}
        if payment["provider_ref"] is None:
            tx.run("payments.set_provider_ref", **ids, provider_ref=snapshot.ref)
        elif payment["provider_ref"] != snapshot.ref:
            close_orphan(tx, payment, snapshot.ref)
        # confirming begins anew: what was asked about creating must not slow down the questions about money
        if self.decider.draining or self.decider.calls_left == 0:
            # for whoever goes on
            token = operations.take_lease(tx, operation, step=Step.CONFIRM, attempt=1, seconds=self.timing.lease)
            operations.settle_lease(tx, operation, token, status="pending", asks=0)
        if self.decider.draining:
            return Leave()
        locked = tx.one("payments.lock", **ids)
        assert locked is not None, "the payment is locked by this transaction"
        return self.decider.perform(tx, locked, {**operation, "status": "pending"}, Step.CONFIRM, 1, asks=0)

    # -- refusals, and no answer ---------------------------------------------------------------------------------

    def _refused(self, tx: Tx, call: Call, payment: Row, operation: Row, refused: Refused) -> Next:
        if call.refused is not None and operation["kind"] == Kind.CAPTURE:
            # nor is there an object to ask about: what was refused stays refused
            return self._end_refused(tx, call, operation, call.refused)
        if call.question is not None:
            return self._unknown(tx, call, payment, operation)
        if operation["kind"] == Kind.REFUND:
            # it was to fit, by what we knew: see what is there now before the refusal is believed
            if not self.decider.draining:
                return self.decider.ask(tx, payment, operation, refused=refused)
            return self._refuse_refund(tx, call, payment, operation, refused)
        if refused.moved:
            return self._unknown(tx, call, payment, operation)
        if refused.snapshot is not None and operation["target_ref"] is None:
            self._apply(tx, payment, refused.snapshot, None)
        elif operation["kind"] == Kind.CAPTURE and not self.decider.draining:
            # it says nothing about the hold: where that ended the payment does, where it stands there is more to try
            return self.decider.ask(tx, payment, operation, refused=refused)
        if operation["kind"] == Kind.SUBMIT:
            self._fail_payment(tx, call, payment, refused)
        return self._end_refused(tx, call, operation, refused)

    def _refuse_refund(self, tx: Tx, call: Call, payment: Row, operation: Row, refused: Refused) -> Over:
        refunds.fail(tx, payment, operation, refused.code)
        return self._end_refused(tx, call, operation, refused)

    def _end_refused(self, tx: Tx, call: Call, operation: Row, refused: Refused) -> Over:
        code, message = refused.code, refused.message
        return self._end(tx, call, operation, status="failed", outcome="refused", code=code, message=message)

    def _fail_payment(self, tx: Tx, call: Call, payment: Row, refused: Refused) -> None:
        locked = tx.one("payments.lock", merchant_id=payment["merchant_id"], payment_id=payment["id"])
        assert locked is not None, "the payment is locked by this transaction"
        state = State(locked["state"])
        # once confirm was sent, every path goes through submitted
        if call.request.step is Step.CONFIRM and state in (State.SUBMITTING, State.OUTCOME_UNKNOWN):
            move(tx, locked, State.SUBMITTED)
            state = State.SUBMITTED
        if state in (State.SUBMITTING, State.OUTCOME_UNKNOWN, State.SUBMITTED):
            move(tx, locked, State.FAILED, code=refused.code, message=refused.message)

    def _unknown(self, tx: Tx, call: Call, payment: Row, operation: Row) -> Next:
        """Nobody knows: ask at once, then ever more rarely; never guess."""
        asks = operation["asks"] + 1
        self._give(tx, call, operation, status="unknown", asks=asks)
        lose_track(tx, payment, operation)
        schedule = self.timing.resolve_schedule
        seconds = schedule[min(asks, len(schedule)) - 1]
        return Wait(seconds, "outcome_unknown") if seconds > 0 else self.decider.decide(tx, str(operation["id"]))

    # -- what is written -----------------------------------------------------------------------------------------

    def _apply(self, tx: Tx, payment: Row, snapshot: Snapshot, observed_version: int | None) -> Applied:
        return apply_snapshot(
            tx,
            str(payment["merchant_id"]),
            str(payment["id"]),
            snapshot,
            observed_version=observed_version,
            timing=self.timing,
        )

    def _end(
        self, tx: Tx, call: Call, operation: Row, *, status: str, outcome: str, code: str, message: str | None = None
    ) -> Over:
        self._give(tx, call, operation, status=status, outcome=outcome, code=code, message=message)
        return Over()

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
