"""payout.paid, payout.failed: what was in transit is in our bank, or is not there after all."""

from __future__ import annotations

from typing import Any

from app.config import Timing
from app.db import Tx
from app.services import ledger
from jobs.handlers.handler import LocalHandler


def handle(tx: Tx, delivery: dict[str, Any], timing: Timing) -> None:
    ledger.post_payout(tx, delivery["merchant_id"], delivery["event_id"])


HANDLER = LocalHandler("post_payout", handle)
