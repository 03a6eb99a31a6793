"""How long the full trace of one payment takes, in a database with as many payments as it is told."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from app.db import Database
from app.model.actor import Actor, ActorType, Role
from app.services import trace
from tests.bench.arena import Arena, check
from tests.bench.history import fill
from tests.bench.measure import Series, percentiles
from tests.fixtures.database import Clone

TRACES = 300
OPERATOR = Actor(ActorType.OPERATOR, "bench", Role.OPERATOR)


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Payments with a whole life each; then the evidence of some of them, one after the other."""
    series = Series(f"trace of one payment among {payments:,}", "traces/s")
    with arena.database() as database:
        progress(f"making {payments} payments with their history")
        fill(database, payments)
        for repeat in range(1, repeats + 1):
            series.add(*trace_some(database))
            progress(f"repeat {repeat} of {repeats}: {series.rates[-1]:,.0f} traces/s")
        violations = check(database, quiesced=False)
    return {
        "payments": payments,
        "variants": [series.summary()],
        "ratios": {"trace_p95_ms": percentiles(series.latencies)["p95_ms"]},
        "violations": violations,
        "note": "by reference: find the payment, then every piece of evidence about it in time order",
    }


def trace_some(database: Clone, count: int = TRACES) -> tuple[float, list[float]]:
    """Traces per second, and the seconds of each, of payments picked at random, each by its reference."""
    conn = database.connect(admin=True)
    references = [row["reference"] for row in conn.execute("select reference from payments order by id limit 20000")]
    conn.close()
    seconds = []
    with Database(database.url, size=1, application="trace") as pool:
        for reference in random.choices(references, k=count):
            began = time.perf_counter()
            rows = pool.transact(OPERATOR, lambda tx, reference=reference: _trace(tx, reference))
            seconds.append(time.perf_counter() - began)
            assert rows, f"{reference} has a history"
    return count / sum(seconds), seconds


def _trace(tx: Any, reference: str) -> list[dict[str, Any]]:
    [payment] = trace.candidates(tx, reference)
    return trace.evidence(tx, payment)
