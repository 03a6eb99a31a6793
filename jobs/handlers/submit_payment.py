"""payment.initiated: submit the payment in two steps, create then confirm."""

from __future__ import annotations

from app.db import Tx
from app.model.operation import Kind, submit_params
from app.model.states import State
from app.services import operations
from jobs.drive import drive
from jobs.handlers.handler import RemoteHandler
from jobs.run import Run


def handle(run: Run) -> None:
    drive(run, lambda tx: claim_submission(run, tx))


def claim_submission(run: Run, tx: Tx) -> str | None:
    """Own the payment: operation and state in one transaction. None when it was canceled before anyone was called."""
    ids = {"merchant_id": run.delivery["merchant_id"], "payment_id": run.delivery["payment_id"]}
    payment = tx.one("payments.lock", **ids)
    assert payment is not None, "payment.initiated names a payment"
    # the event's own id: whoever runs this delivery again finds the same operation
    operation_id = run.key.event_id
    if payment["state"] == State.INITIATED:
        params = submit_params(payment, operation_id)
        operations.open_operation(tx, payment, Kind.SUBMIT, params, operation_id=operation_id)
        tx.run("payments.move", **ids, state=State.SUBMITTING.value, failure_code=None, failure_message=None)
        return operation_id
    known = tx.one("operations.lock", merchant_id=ids["merchant_id"], operation_id=operation_id)
    assert known is not None or payment["state"] == State.CANCELED, (
        f"payment {payment['id']} left initiated as {payment['state']} without a submit operation"
    )
    return operation_id if known else None


HANDLER = RemoteHandler("submit_payment", handle)
