"""Applies what a provider says of a payment's refunds and disputes, under the payment's lock, step by step."""

from __future__ import annotations

import structlog

from app.db import Tx
from app.db.pool import Row
from app.model.children import (
    ChildStep,
    DisputeStep,
    RefundStep,
    SettlementStep,
    in_order,
    plan_dispute,
    plan_refund,
)
from app.model.snapshot import DisputeSnapshot, RefundSnapshot, Snapshot
from app.services import facts

log = structlog.get_logger()


def apply_children(tx: Tx, payment: Row, snapshot: Snapshot, *, settlement: SettlementStep | None) -> None:
    """Take every step that brings the payment's refunds and disputes to what `snapshot` says, in the provider's order.

    `settlement` is the payment's own, where it is due: it stands at its place among the others. The payment follows
    after each step.
    """
    refunds, disputes = Refunds(tx, payment), Disputes(tx, payment)
    steps: list[ChildStep] = [settlement] if settlement else []
    for refund in snapshot.refunds or ():
        steps += plan_refund(refunds.find(refund), refund, method=payment["method"])
    for dispute in snapshot.disputes or ():
        row = disputes.rows.get(dispute.ref)
        steps += plan_dispute(row, dispute, known=frozenset(row["known"] if row else ()))
    for step in in_order(steps):
        match step:
            case RefundStep():
                refunds.take(step)
            case DisputeStep():
                disputes.take(step)
            case SettlementStep():
                pass
        follow_facts(tx, payment, settles=isinstance(step, SettlementStep))
    for dispute in snapshot.disputes or ():
        disputes.note(dispute)


def apply_refund(tx: Tx, payment: Row, said: RefundSnapshot) -> None:
    """The answer to a refund of ours: this one refund as it is now. What is seen of it meanwhile is never undone."""
    refunds = Refunds(tx, payment)
    for step in plan_refund(refunds.find(said), said, method=payment["method"]):
        refunds.take(step)
        follow_facts(tx, payment)


def follow_facts(tx: Tx, payment: Row, *, settles: bool = False) -> None:
    """Bring the payment to what its children add up to; `settles`: its money became available."""
    tx.one("payments.follow_facts", merchant_id=payment["merchant_id"], payment_id=payment["id"], settles=settles)


class Refunds:
    """The refunds of one payment: ours by their provider reference, or by the ids we sent along."""

    def __init__(self, tx: Tx, payment: Row) -> None:
        self.tx = tx
        self.payment = payment
        self.ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}
        self.rows = tx.all("refunds.of_payment", **self.ids)

    def find(self, said: RefundSnapshot) -> Row | None:
        known = [row for row in self.rows if row["provider_ref"] == said.ref]
        sent = [row for row in self.rows if row["provider_ref"] is None and _is_ours(row, said)]
        return next(iter(known or sent), None)

    def take(self, step: RefundStep) -> None:
        row = self.find(step.said) or self._adopt(step.said)
        if step.state is not None:
            changed = self.tx.one(
                "refunds.take_step",
                merchant_id=row["merchant_id"],
                refund_id=row["id"],
                state=step.state,
                provider_ref=step.said.ref,
                provider_status=step.said.provider_status,
                failure_reason=step.said.failure_reason,
            )
            assert changed is not None, f"refund {row['id']} is locked with its payment"
            self.rows[self.rows.index(row)] = changed
        for fact in step.facts:
            facts.store(self.tx, self.payment, fact, refund_id=row["id"])

    def _adopt(self, said: RefundSnapshot) -> Row:
        adopted = self.tx.one(
            "refunds.adopt",
            **self.ids,
            currency=said.currency,
            amount=said.amount,
            reason=said.reason,
            provider=self.payment["provider"],
            account=self.payment["provider_account"],
        )
        assert adopted is not None, "insert returning returns its row"
        # known by its reference from here on, though the row learns it with its first step
        self.rows.append({**adopted, "provider_ref": said.ref})
        return self.rows[-1]


def _is_ours(row: Row, said: RefundSnapshot) -> bool:
    """The ids are ours to send, but anybody at the provider may copy them: the amount has to be right as well."""
    sent = (str(row["id"]), str(row["operation_id"]), row["amount"])
    return row["operation_id"] is not None and sent == (said.refund_id, said.operation_id, said.amount)


class Disputes:
    """The disputes of one payment, by their provider reference."""

    def __init__(self, tx: Tx, payment: Row) -> None:
        self.tx = tx
        self.payment = payment
        self.ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}
        self.rows = {row["provider_ref"]: row for row in tx.all("disputes.of_payment", **self.ids)}
        self.told = {ref: row["provider_status"] for ref, row in self.rows.items()}

    def take(self, step: DisputeStep) -> None:
        said = step.said
        row = self.rows.get(said.ref)
        if row is None:
            self.rows[said.ref] = self._open(said, step.state)
        elif step.withdrawn is not None:
            self._update(row, said, step.state, step.withdrawn)
        for fact in step.facts:
            facts.store(self.tx, self.payment, fact, dispute_id=self.rows[said.ref]["id"])

    def note(self, said: DisputeSnapshot) -> None:
        """The provider's own word, where no step brought it along; one that nobody knows is told to people, once."""
        row = self.rows[said.ref]
        if row["provider_status"] != said.provider_status:
            self._update(row, said, None, row["amount_withdrawn"])
        if said.status is None and self.told.get(said.ref) != said.provider_status:
            log.warning(
                "a dispute has a status that is not known here",
                status=said.provider_status,
                dispute_id=str(row["id"]),
                payment_id=str(row["payment_id"]),
            )
            self.tx.one("disputes.tell_unknown_status", merchant_id=row["merchant_id"], dispute_id=row["id"])

    def _open(self, said: DisputeSnapshot, state: str | None) -> Row:
        opened = self.tx.one(
            "disputes.open",
            **self.ids,
            state=state,
            currency=said.currency,
            amount=said.amount,
            disputed_at=said.created_at,
            evidence_due_at=said.evidence_due_at,
            provider=self.payment["provider"],
            account=self.payment["provider_account"],
            provider_ref=said.ref,
            provider_status=said.provider_status,
            reason=said.reason,
        )
        assert opened is not None, "insert returning returns its row"
        return opened

    def _update(self, row: Row, said: DisputeSnapshot, state: str | None, withdrawn: int) -> None:
        changed = self.tx.one(
            "disputes.take_step",
            merchant_id=row["merchant_id"],
            dispute_id=row["id"],
            state=state,
            amount=said.amount,
            withdrawn=withdrawn,
            evidence_due_at=said.evidence_due_at,
            provider_status=said.provider_status,
            reason=said.reason,
        )
        assert changed is not None, f"dispute {row['id']} is locked with its payment"
        self.rows[said.ref] = changed
