"""Refunds: asked for by merchant or operator, carried out by an operation; what the provider says is children.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.db import Tx
from app.db.pool import Row
from app.errors import AmountRefused, IllegalTransition, Invalid, NotFound
from app.model.operation import FIRST_STEP, Kind, params_sha256, refund_params
from app.model.states import State
from app.services import listing
from app.services.authentication import Caller
from app.services.children import follow_facts
from app.services.listing import Anyones, Filter, position
from app.services.versions import Versions, hold

# Where there is money of the payer's that nobody else has a claim on.
REFUNDABLE = frozenset({State.CONFIRMED, State.SETTLED})
_NOT_SENT = frozenset({"requested", "outcome_unknown"})
_UNDECIDED = frozenset({"requested", "submitting", "outcome_unknown"})


def request(
    tx: Tx, caller: Caller, payment_id: UUID | None, *, amount: int | None, reason: str, versions: Versions = None
) -> Row:
    """A refund of `amount` minor units, or of all that is left; a worker carries it out after the commit.

    `versions`, where given, are those that the payment may have. Raises NotFound, VersionChanged, IllegalTransition
    where nothing can be refunded, Invalid and AmountRefused for the amount.
    """
    payment = payment_id and tx.one(
        "payments.lock_for_request", merchant_id=caller.merchant_id, payment_id=payment_id, livemode=caller.livemode
    )
    if not payment:
        raise NotFound()
    hold(payment, versions)
    left = _refundable(payment)
    wanted = left if amount is None else amount
    if wanted % payment["multiple"]:
        raise _wrong_amount(AmountRefused, AmountRefused.code, f"Must be a multiple of {payment['multiple']}.")
    ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}
    if tx.one("payments.reserve_refund", **ids, amount=wanted) is None:
        raise _too_much(left)
    return _write_down(tx, payment, amount=wanted, reason=reason)


def _refundable(payment: Row) -> int:
    """How much is left to refund, in minor units; more than nothing. Raises IllegalTransition."""
    if payment["state"] not in REFUNDABLE:
        state = payment["state"]
        raise IllegalTransition(f"A payment that is {state} cannot be refunded.", state=state)
    left = int(payment["amount_captured"] - payment["amount_refunded"] - payment["amount_refund_pending"])
    if left <= 0:
        detail = "All that was captured is refunded, or about to be."
        raise IllegalTransition(detail, state=payment["state"])
    return left


def _write_down(tx: Tx, payment: Row, *, amount: int, reason: str) -> Row:
    refund_id = tx.one("operations.new_id")
    assert refund_id is not None, "an id can always be made"
    operation_id = str(payment["operation_id"])
    params = refund_params(payment, operation_id, refund_id=str(refund_id["id"]), amount=amount, reason=reason)
    tx.one(
        "operations.request",
        merchant_id=payment["merchant_id"],
        operation_id=operation_id,
        payment_id=payment["id"],
        kind=Kind.REFUND.value,
        step=FIRST_STEP[Kind.REFUND],
        amount=amount,
        reason=reason,
        params=dict(params),
        params_sha256=params_sha256(params),
    )
    row = tx.one(
        "refunds.request",
        merchant_id=payment["merchant_id"],
        refund_id=refund_id["id"],
        payment_id=payment["id"],
        currency=payment["currency"],
        amount=amount,
        operation_id=operation_id,
        reason=reason,
        provider=payment["provider"],
        account=payment["provider_account"],
    )
    assert row is not None, "insert returning returns its row"
    return row


def _too_much(left: int) -> Invalid:
    return _wrong_amount(Invalid, "invalid", f"At most {left} is left to refund, in minor units.")


def _wrong_amount(kind: type[Invalid], code: str, detail: str) -> Invalid:
    return kind(errors=[{"pointer": "/amount", "code": code, "detail": detail}])


def get(tx: Tx, caller: Caller, refund_id: UUID | None) -> Row:
    """One refund of the caller. Raises NotFound for any other, whoever's it is."""
    found = refund_id and tx.one(
        "refunds.get", merchant_id=caller.merchant_id, refund_id=refund_id, livemode=caller.livemode
    )
    if not found:
        raise NotFound()
    return found


def page(tx: Tx, caller: Caller, wanted: Filter) -> list[Row]:
    """Up to `limit` refunds of the caller, newest first."""
    return tx.all("refunds.page", merchant_id=caller.merchant_id, livemode=caller.livemode, **position(wanted))


def newest_of(tx: Tx, caller: Caller, payments: Sequence[UUID]) -> dict[UUID, list[Row]]:
    """The newest refunds of each of these payments of the caller, a bounded number of each."""
    return listing.newest_of(tx, "refunds.newest_of", caller.merchant_id, payments)


# -- for operators ---------------------------------------------------------------------------------------------


def for_operator(tx: Tx, payment_id: UUID | None, *, amount: int, versions: Versions) -> tuple[Row, bool]:
    """Any merchant's payment, locked, of which so many minor units can go back, and whether that takes two people.

    `versions`, where given, are those that it may have. Raises NotFound, VersionChanged, IllegalTransition, Invalid.
    """
    payment = payment_id and tx.one("payments.lock_to_refund", payment_id=payment_id, amount=amount)
    if not payment:
        raise NotFound()
    hold(payment, versions)
    if amount > (left := _refundable(payment)):
        raise _too_much(left)
    return payment, payment["takes_two"]


def request_by_operator(tx: Tx, payment_id: UUID, *, amount: int | None, reason: str) -> Row:
    """The same as `request` for an operator, of any merchant's payment. Raises as that, and TakesTwo."""
    payment = tx.one("refunds.payment_of_operator", payment_id=payment_id)
    if payment is None:
        raise NotFound(f"there is no payment {payment_id}")
    for_whom = Caller(payment["merchant_id"], "operator", payment["livemode"])
    return request(tx, for_whom, payment_id, amount=amount, reason=reason)


def find(tx: Tx, wanted: Anyones, *, limit: int) -> list[Row]:
    """Refunds of all merchants, newest first."""
    return tx.all("refunds.find", id=None, **vars(wanted), limit=limit)


def show(tx: Tx, refund_id: UUID) -> tuple[Row, list[Row]]:
    """One refund, whoever's it is, and its money lines. Raises NotFound."""
    row = tx.one("refunds.find", id=refund_id, **vars(Anyones()), limit=1)
    if row is None:
        raise NotFound(f"there is no refund {refund_id}")
    ids = {"merchant_id": row["merchant_id"], "payment_id": row["payment_id"]}
    return row, tx.all("provider_transactions.of_child", **ids, id=refund_id)


# -- while its operation runs; the payment's lock is held ------------------------------------------------------


def seen_at_provider(tx: Tx, operation: Mapping[str, Any]) -> str | None:
    """The provider's word for the refund of this operation, once it is known to be there; None while it is not."""
    row = _of(tx, operation)
    return row["provider_status"] if row["provider_ref"] is not None else None


def begin(tx: Tx, operation: Mapping[str, Any]) -> None:
    """A worker is about to send it."""
    if (row := _of(tx, operation))["state"] in _NOT_SENT:
        _move(tx, row, "submitting")


def lose_track(tx: Tx, operation: Mapping[str, Any]) -> None:
    """It was sent, and nobody knows how that ended."""
    if (row := _of(tx, operation))["state"] == "submitting":
        _move(tx, row, "outcome_unknown")


def fail(tx: Tx, payment: Row, operation: Mapping[str, Any], reason: str) -> None:
    """The provider will not make it: what it reserved is free again."""
    if (row := _of(tx, operation))["state"] in _UNDECIDED:
        _move(tx, row, "failed", reason=reason)
        follow_facts(tx, payment)


def _of(tx: Tx, operation: Mapping[str, Any]) -> Row:
    row = tx.one("refunds.of_operation", merchant_id=operation["merchant_id"], operation_id=operation["id"])
    assert row is not None, f"operation {operation['id']} carries out a refund"
    return row


def _move(tx: Tx, row: Row, state: str, *, reason: str | None = None) -> None:
    tx.one(
        "refunds.take_step",
        merchant_id=row["merchant_id"],
        refund_id=row["id"],
        state=state,
        provider_ref=None,
        provider_status=None,
        failure_reason=reason,
    )
