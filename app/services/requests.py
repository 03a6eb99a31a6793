"""What a merchant asks of an existing payment: capture and cancel, each written down as an operation for the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.db import Tx
from app.db.pool import Row
from app.errors import AmountRefused, IllegalTransition, Invalid, NotFound
from app.model.operation import FIRST_STEP, Kind, cancel_params, capture_params, params_sha256
from app.model.states import State
from app.services.authentication import Caller
from app.services.versions import Versions, hold

# Where a payment is held and can still be voided at the provider.
CANCELABLE = frozenset({State.REQUIRES_ACTION, State.AUTHORIZED})


def capture(tx: Tx, caller: Caller, payment_id: UUID | None, *, amount: int | None, versions: Versions = None) -> Row:
    """An operation that captures `amount` minor units, or all that is authorized.

    `versions`, where given, are those that the payment may have. Raises NotFound, VersionChanged, IllegalTransition
    outside `authorized`, Invalid and AmountRefused for the amount, OperationOpen.
    """
    payment = _lock(tx, caller, payment_id, versions)
    if payment["state"] != State.AUTHORIZED:
        raise _not_now("captured", payment)
    authorized = payment["amount_authorized"]
    wanted = authorized if amount is None else amount
    if wanted > authorized:
        raise _wrong_amount(Invalid, "invalid", f"At most {authorized} is authorized, in minor units.")
    if wanted % payment["multiple"]:
        raise _wrong_amount(AmountRefused, AmountRefused.code, f"Must be a multiple of {payment['multiple']}.")
    params = capture_params(payment, str(payment["operation_id"]), amount=wanted)
    return _request(tx, payment, Kind.CAPTURE, params, amount=wanted, reason=None)


def cancel(
    tx: Tx, caller: Caller, payment_id: UUID | None, *, reason: str, versions: Versions = None
) -> tuple[Row | None, Row | None]:
    """The canceled payment if nobody was asked about it yet, or the operation that will cancel it: one of the two.

    Raises NotFound, VersionChanged, IllegalTransition when it can no longer be canceled, OperationOpen.
    """
    payment = _lock(tx, caller, payment_id, versions)
    if payment["state"] == State.INITIATED:
        canceled = tx.one(
            "payments.cancel_initiated", merchant_id=payment["merchant_id"], payment_id=payment["id"], reason=reason
        )
        assert canceled is not None, "the payment is locked and was initiated"
        return canceled, None
    if payment["state"] not in CANCELABLE:
        raise _not_now("canceled", payment)
    params = cancel_params(payment, str(payment["operation_id"]), reason=reason)
    return None, _request(tx, payment, Kind.CANCEL, params, amount=None, reason=reason)


def _lock(tx: Tx, caller: Caller, payment_id: UUID | None, versions: Versions) -> Row:
    found = payment_id and tx.one(
        "payments.lock_for_request", merchant_id=caller.merchant_id, payment_id=payment_id, livemode=caller.livemode
    )
    if not found:
        raise NotFound()
    hold(found, versions)
    return found


def _not_now(done: str, payment: Row) -> IllegalTransition:
    return IllegalTransition(f"A payment that is {payment['state']} cannot be {done}.", state=payment["state"])


def _wrong_amount(kind: type[Invalid], code: str, detail: str) -> Invalid:
    return kind(errors=[{"pointer": "/amount", "code": code, "detail": detail}])


def _request(
    tx: Tx, payment: Row, kind: Kind, params: Mapping[str, Any], *, amount: int | None, reason: str | None
) -> Row:
    row = tx.one(
        "operations.request",
        merchant_id=payment["merchant_id"],
        operation_id=payment["operation_id"],
        payment_id=payment["id"],
        kind=kind.value,
        step=FIRST_STEP[kind],
        amount=amount,
        reason=reason,
        params=dict(params),
        params_sha256=params_sha256(params),
    )
    assert row is not None, "insert returning returns its row"
    return row
