"""What needs two people: proposed by one, decided by another within a day, done in the transaction that approves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from app.config import Timing
from app.db.pool import Row, Tx
from app.errors import IllegalTransition, Invalid, NotFound, OverDebt
from app.model.operation import params_sha256
from app.services import adoption, dead_letters, merchant_payouts, refunds
from app.services.dead_letters import Filter
from app.services.operator_pages import Before
from app.services.versions import Versions


def propose_discard(tx: Tx, letter: Row, *, by: str, reason: str, timing: Timing) -> Row:
    """Leaving a dead letter that moves money. Raises Invalid when that is proposed already."""
    return _propose(
        tx,
        "discard",
        letter["merchant_id"],
        letter["payment_id"],
        {"letter": letter["id"]},
        by=by,
        reason=reason,
        timing=timing,
    )


def propose_adoption(
    tx: Tx, payment_id: UUID, *, amount: int, by: str, reason: str, timing: Timing, versions: Versions = None
) -> Row:
    """Taking a payment that failed or was canceled as paid.

    Raises NotFound, VersionChanged, IllegalTransition, Invalid.
    """
    payment = adoption.adoptable(tx, payment_id, amount=amount, versions=versions)
    parameters = {"payment": str(payment_id), "amount": amount}
    return _propose(tx, "adopt", payment["merchant_id"], payment_id, parameters, by=by, reason=reason, timing=timing)


def propose_refund(tx: Tx, payment: Row, *, amount: int, cause: str, by: str, reason: str, timing: Timing) -> Row:
    """Giving back more than one person may. Raises Invalid when that is proposed already."""
    parameters = {"payment": str(payment["id"]), "amount": amount, "cause": cause}
    merchant_id, payment_id = payment["merchant_id"], payment["id"]
    return _propose(tx, "refund", merchant_id, payment_id, parameters, by=by, reason=reason, timing=timing)


def propose_write_off(
    tx: Tx, merchant_id: UUID, *, amount: int, currency: str, by: str, reason: str, timing: Timing
) -> Row:
    """Taking what a merchant owes us as lost. Raises NotFound, OverDebt, Invalid."""
    currency = currency.lower()
    owed = {row["currency"]: row["owes"] for row in merchant_payouts.debts_of(tx, merchant_id)}
    if not 0 < amount <= owed.get(currency, 0):
        raise OverDebt()
    parameters = {"currency": currency, "amount": amount}
    return _propose(tx, "write_off", merchant_id, None, parameters, by=by, reason=reason, timing=timing)


def _propose(
    tx: Tx,
    act: str,
    merchant_id: Any,
    payment_id: Any,
    parameters: Mapping[str, Any],
    *,
    by: str,
    reason: str,
    timing: Timing,
) -> Row:
    same = {"merchant_id": merchant_id, "act": act, "parameters_sha256": params_sha256(parameters)}
    tx.run("proposals.expire", **same)
    row = tx.one(
        "proposals.propose",
        **same,
        payment_id=payment_id,
        parameters=dict(parameters),
        by=by,
        reason=reason,
        window=timing.decision_window,
    )
    if row is None:
        raise Invalid("This is proposed already, and waits for a second person.")
    return row


def approve(tx: Tx, proposal_id: UUID | None, *, by: str, reason: str) -> Row:
    """Agree, and do it: both or neither. Raises NotFound, IllegalTransition, SamePerson, TakesTwo, and what the act
    raises."""
    proposal = _open(tx, proposal_id)
    decided = _decide(tx, proposal, "approved", by=by, reason=reason)
    assert proposal["parameters_sha256"] == params_sha256(proposal["parameters"]), "nobody changes what was proposed"
    _ACTS[proposal["act"]](tx, proposal)
    return decided


def reject(tx: Tx, proposal_id: UUID | None, *, by: str, reason: str) -> Row:
    """Disagree, or take one's own proposal back. Raises NotFound, IllegalTransition."""
    return _decide(tx, _open(tx, proposal_id), "rejected", by=by, reason=reason)


def get(tx: Tx, proposal_id: UUID) -> Row:
    """One proposal as it is now. Raises NotFound."""
    row = tx.one("proposals.get", proposal_id=proposal_id)
    if row is None:
        raise NotFound(f"there is no proposal {proposal_id}")
    return row


def page(tx: Tx, *, only_open: bool, before: Before, limit: int) -> list[Row]:
    """Proposals, newest first."""
    at, identity = before or (None, None)
    return tx.all("proposals.page", open=only_open, before_at=at, before_id=identity, limit=limit)


def _open(tx: Tx, proposal_id: UUID | None) -> Row:
    proposal = tx.one("proposals.lock", proposal_id=proposal_id) if proposal_id else None
    if proposal is None:
        raise NotFound()
    status = "expired" if proposal["status"] == "open" and proposal["is_late"] else proposal["status"]
    if status != "open":
        raise IllegalTransition(f"This proposal is {status}.", state=status)
    return proposal


def _decide(tx: Tx, proposal: Row, status: str, *, by: str, reason: str) -> Row:
    row = tx.one(
        "proposals.decide",
        merchant_id=proposal["merchant_id"],
        proposal_id=proposal["id"],
        status=status,
        by=by,
        reason=reason,
    )
    assert row is not None, "the proposal is locked"
    return row


def _discard(tx: Tx, proposal: Row) -> None:
    (letter,) = dead_letters.find(tx, Filter(names=(proposal["parameters"]["letter"],)), limit=2)
    done = dead_letters.discard(tx, letter, by=proposal["proposed_by"], reason=proposal["reason"])
    assert done, "the letter was just found"


def _adopt(tx: Tx, proposal: Row) -> None:
    adoption.adopt(tx, proposal["payment_id"], amount=proposal["parameters"]["amount"])


def _refund(tx: Tx, proposal: Row) -> None:
    wanted = proposal["parameters"]
    refunds.request_by_operator(tx, proposal["payment_id"], amount=wanted["amount"], reason=wanted["cause"])


def _write_off(tx: Tx, proposal: Row) -> None:
    wanted = proposal["parameters"]
    merchant_payouts.write_off_debt(
        tx, proposal["merchant_id"], amount=wanted["amount"], currency=wanted["currency"], reason=proposal["reason"]
    )


# Each uses up the proposal that was approved: the guards in the database see to it, whoever writes.
_ACTS: dict[str, Callable[[Tx, Row], None]] = {
    "discard": _discard,
    "adopt": _adopt,
    "refund": _refund,
    "write_off": _write_off,
}
