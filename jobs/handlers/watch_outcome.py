"""payment.provider_submitted: set the day by which an outcome is due; the clock asks then, webhook or not."""

from __future__ import annotations

from typing import Any

from app.config import Timing
from app.db import Tx
from jobs.handlers.handler import LocalHandler


def handle(tx: Tx, delivery: dict[str, Any], timing: Timing) -> None:
    tx.run(
        "payments.set_observation",
        merchant_id=delivery["merchant_id"],
        payment_id=delivery["payment_id"],
        card=timing.outcome_due_card,
        bank=timing.outcome_due_bank,
    )


HANDLER = LocalHandler("watch_outcome", handle, in_database=True)
