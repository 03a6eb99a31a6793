"""payment.settled: what is left of the payment in the merchant's pending is available (J2)."""

from __future__ import annotations

from typing import Any

from app.config import Timing
from app.db import Tx
from app.services import ledger
from jobs.handlers.handler import LocalHandler


def handle(tx: Tx, delivery: dict[str, Any], timing: Timing) -> None:
    ledger.release_funds(tx, delivery["merchant_id"], delivery["payment_id"])


HANDLER = LocalHandler("release_funds", handle, in_database=True)
