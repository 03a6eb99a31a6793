"""payment.confirmed, payment.adopted: credit the merchant what was captured, less our fee (J1)."""

from __future__ import annotations

from typing import Any

from app.config import Timing
from app.db import Tx
from app.services import ledger
from jobs.handlers.handler import LocalHandler


def handle(tx: Tx, delivery: dict[str, Any], timing: Timing) -> None:
    ledger.credit_merchant(tx, delivery["merchant_id"], delivery["payment_id"])


HANDLER = LocalHandler("credit_merchant", handle, in_database=True)
