"""payment.adopted: what refunds and disputes did to the money while the payment was over is booked now (J3 to J7)."""

from __future__ import annotations

from typing import Any

from app.config import Timing
from app.db import Tx
from app.services import ledger
from jobs.handlers.handler import LocalHandler


def handle(tx: Tx, delivery: dict[str, Any], timing: Timing) -> None:
    ledger.post_children(tx, delivery["merchant_id"], delivery["payment_id"])


HANDLER = LocalHandler("post_children", handle)
