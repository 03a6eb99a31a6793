"""payment.failed: cancel what is left at the provider, so that a declined payment can never be charged later."""

from __future__ import annotations

from app.db import Tx
from app.model.operation import Kind, cancel_params
from app.model.states import State
from app.services import operations
from jobs.drive import drive
from jobs.handlers.handler import RemoteHandler
from jobs.run import Run


def handle(run: Run) -> None:
    drive(run, lambda tx: claim_closing(run, tx))


def claim_closing(run: Run, tx: Tx) -> str | None:
    """The close operation of this failure. None when nothing was ever created, or the payment was adopted since."""
    ids = {"merchant_id": run.delivery["merchant_id"], "payment_id": run.delivery["payment_id"]}
    payment = tx.one("payments.lock", **ids)
    assert payment is not None, "payment.failed names a payment"
    if payment["provider_ref"] is None or payment["state"] != State.FAILED:
        return None
    operation_id = run.key.event_id
    params = cancel_params(payment, operation_id, reason="abandoned")
    operations.open_operation(tx, payment, Kind.CLOSE, params, operation_id=operation_id, reason="failed")
    return operation_id


HANDLER = RemoteHandler("close_intent", handle)
