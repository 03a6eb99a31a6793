"""The book-keeping of operations: intent, lease, attempts and calls, written before and after each request."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.db import Tx
from app.model.operation import FIRST_STEP, Kind, attempt_key, params_sha256
from app.model.outcome import Ambiguous, Evidence, Misuse, NotExecuted, Ok, Outcome, Refused

OUTCOME_NAMES: dict[type[object], str] = {
    Ok: "ok",
    Refused: "refused",
    NotExecuted: "not_executed",
    Ambiguous: "ambiguous",
    Misuse: "misuse",
}


@dataclass(frozen=True)
class OpenCall:
    """A provider call that is written down and may now be sent by the holder of `lease_token`."""

    merchant_id: str
    call_id: str
    payment_id: str | None
    operation_id: str | None
    lease_token: str | None


def open_operation(
    tx: Tx,
    payment: Mapping[str, Any],
    kind: Kind,
    params: Mapping[str, Any],
    *,
    operation_id: str,
    amount: int | None = None,
    reason: str | None = None,
    target_ref: str | None = None,
) -> None:
    """Store one intended effect; the same `operation_id` twice is one operation.

    Raises OperationOpen through the database when another lifecycle operation of the payment is open.
    """
    tx.run(
        "operations.open",
        merchant_id=payment["merchant_id"],
        operation_id=operation_id,
        payment_id=payment["id"],
        kind=kind.value,
        step=FIRST_STEP[kind],
        amount=amount,
        reason=reason,
        target_ref=target_ref,
        params=dict(params),
        params_sha256=params_sha256(params),
    )


def begin_attempt(tx: Tx, operation: Mapping[str, Any], step: str, n: int, *, proof_call_id: str | None = None) -> str:
    """The idempotency key of attempt `n`, on record before it is sent; n > 1 needs the call that proved no effect."""
    key = attempt_key(str(operation["id"]), step, n)
    tx.run(
        "operations.begin_attempt",
        merchant_id=operation["merchant_id"],
        operation_id=operation["id"],
        step=step,
        n=n,
        idempotency_key=key,
        proof_call_id=proof_call_id,
    )
    return key


def take_lease(
    tx: Tx, operation: Mapping[str, Any], *, step: str, attempt: int, seconds: float, asks: int | None = None
) -> str:
    """A new lease for one HTTP call; who held it before can no longer record an outcome. `asks`: counted from it."""
    token = str(uuid.uuid4())
    tx.run(
        "operations.lease",
        merchant_id=operation["merchant_id"],
        operation_id=operation["id"],
        step=step,
        attempt=attempt,
        asks=asks,
        lease_token=token,
        seconds=seconds,
    )
    return token


def settle_lease(
    tx: Tx,
    operation: Mapping[str, Any],
    lease_token: str,
    *,
    status: str,
    asks: int,
    step: str | None = None,
    outcome: str | None = None,
    code: str | None = None,
    message: str | None = None,
) -> None:
    """Give the lease back with what is known. The caller holds the row and has checked the token."""
    touched = tx.run(
        "operations.settle_lease",
        merchant_id=operation["merchant_id"],
        operation_id=operation["id"],
        lease_token=lease_token,
        status=status,
        step=step,
        asks=asks,
        outcome=outcome,
        outcome_code=code,
        outcome_message=message,
    )
    assert touched == 1, f"operation {operation['id']} was held under {lease_token}"


def open_call(
    tx: Tx,
    *,
    merchant_id: str,
    payment_id: str | None,
    operation_id: str | None,
    lease_token: str | None,
    provider: str,
    account: str,
    step: str,
    attempt: int | None,
    method: str,
    path: str,
    idempotency_key: str | None,
    request: Mapping[str, object],
    request_sha256: str,
) -> OpenCall:
    """Write the call down before it is sent. `request` is redacted."""
    call_id = str(uuid.uuid4())
    tx.run(
        "operations.open_call",
        merchant_id=merchant_id,
        call_id=call_id,
        payment_id=payment_id,
        operation_id=operation_id,
        provider=provider,
        account=account,
        step=step,
        attempt=attempt,
        method=method,
        path=path,
        idempotency_key=idempotency_key,
        request=dict(request),
        request_sha256=request_sha256,
    )
    return OpenCall(str(merchant_id), call_id, payment_id, operation_id, lease_token)


def complete_call(tx: Tx, call: OpenCall, outcome: Outcome, evidence: Evidence, *, late: bool) -> None:
    """How the call ended. `late`: the operation had moved on, the result changes nothing and is kept as evidence."""
    tx.run(
        "operations.complete_call",
        merchant_id=call.merchant_id,
        call_id=call.call_id,
        outcome=OUTCOME_NAMES[type(outcome)],
        http_status=evidence.http_status,
        replayed=evidence.replayed,
        provider_request_id=evidence.provider_request_id,
        response=evidence.response,
        response_sha256=evidence.response_sha256,
        error_class=evidence.error_class,
        error_detail=evidence.error_detail,
        duration_ms=evidence.duration_ms,
        late=late,
    )
