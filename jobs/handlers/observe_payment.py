"""payment.observation_due: the clock says to observe the payment again, whether or not a webhook came."""

from __future__ import annotations

from app.db import Tx
from app.model.actor import ActorType
from jobs.handlers.handler import RemoteHandler
from jobs.observe import Fetch, finish_fetches, open_fetch, subject_of
from jobs.run import Run


def handle(run: Run) -> None:
    finish_fetches(run, run.begin(lambda tx: claim_observation(run, tx)))


def claim_observation(run: Run, tx: Tx) -> Fetch | None:
    payment = tx.one(
        "payments.find_by_id", merchant_id=run.delivery["merchant_id"], payment_id=run.delivery["payment_id"]
    )
    assert payment is not None and payment["provider_ref"], "only payments known to a provider are observed"
    waits = tx.one("payments.waits_for_its_line", merchant_id=payment["merchant_id"], payment_id=payment["id"])
    assert waits is not None, "the payment was just found"
    # nobody told us: so ask about everything, unless all there is to learn is that the one line became available
    whole = run.delivery["alone"] or not waits["waits"]
    return open_fetch(run, tx, subject_of(payment, payment["provider_ref"]), whole=whole)


HANDLER = RemoteHandler("observe_payment", handle, actor_type=ActorType.RECONCILER)
