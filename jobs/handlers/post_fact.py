"""fact.recorded, fact.matched, fact.available: book the provider's money line on the provider's side."""

from __future__ import annotations

from typing import Any

from app.config import Timing
from app.db import Tx
from app.services import ledger
from jobs.handlers.handler import LocalHandler


def handle(tx: Tx, delivery: dict[str, Any], timing: Timing) -> None:
    ledger.post_fact(tx, delivery["merchant_id"], delivery["event_id"])


HANDLER = LocalHandler("post_fact", handle, in_database=True)
