"""payment.confirmed: fetch the balance transaction and store its available_on; a clock sweep goes on from there."""

from __future__ import annotations

from app.db import Tx
from jobs.handlers.handler import RemoteHandler
from jobs.observe import Fetch, finish_fetches, open_fetch, subject_of
from jobs.run import Run


def handle(run: Run) -> None:
    finish_fetches(run, run.begin(lambda tx: claim_observation(run, tx)))


def claim_observation(run: Run, tx: Tx) -> Fetch | None:
    """The question to ask; None, and done, when the money line is already known."""
    ids = {"merchant_id": run.delivery["merchant_id"], "payment_id": run.delivery["payment_id"]}
    payment = tx.one("payments.find_by_id", **ids)
    assert payment is not None and payment["provider_ref"], "a confirmed payment is known to its provider"
    if tx.one("provider_transactions.charge_of", **ids):
        run.done(tx)
        return None
    return open_fetch(run, tx, subject_of(payment, payment["provider_ref"]))


HANDLER = RemoteHandler("watch_settlement", handle)
