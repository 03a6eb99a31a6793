"""refund.*: book what a refund takes from its merchant, that it was paid, and that it came back (J3 to J5)."""

from __future__ import annotations

from typing import Any

from app.config import Timing
from app.db import Tx
from app.services import ledger
from jobs.handlers.handler import LocalHandler


def handle(tx: Tx, delivery: dict[str, Any], timing: Timing) -> None:
    ledger.post_refund(tx, delivery["merchant_id"], delivery["event_id"])


HANDLER = LocalHandler("post_refund", handle)
