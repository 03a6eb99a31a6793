"""dispute.funds_withdrawn, dispute.funds_reinstated: book what a dispute takes and gives back (J6, J7)."""

from __future__ import annotations

from typing import Any

from app.config import Timing
from app.db import Tx
from app.services import ledger
from jobs.handlers.handler import LocalHandler


def handle(tx: Tx, delivery: dict[str, Any], timing: Timing) -> None:
    ledger.post_dispute(tx, delivery["merchant_id"], delivery["event_id"])


HANDLER = LocalHandler("post_dispute", handle)
