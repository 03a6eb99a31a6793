"""How long the full trace of one payment takes, in a database with as many payments as it is told."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from app.db import Database
from app.model.actor import Actor, ActorType, Role
from app.services import trace
from tests.bench.arena import Arena
from tests.bench.history import grown, lived
from tests.bench.measure import Series, percentiles, spending
from tests.fixtures.database import Clone, Connection

# So many, out of a sample that is surely large enough.
TRACES, SAMPLED = 300, 10
OPERATOR = Actor(ActorType.OPERATOR, "bench", Role.OPERATOR)


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Payments with a whole life each; then the evidence of some of them, one after the other."""
    series = Series(f"trace of one payment among {payments:,}", "traces/s")
    with lived(arena, payments) as originals, grown(arena, originals, payments, progress) as database:
        conn = database.connect(admin=True)
        for repeat in range(1, repeats + 1):
            warm_up, asked = some_apart(conn)
            with tracing(database, warm_up) as pool, spending(arena.cluster, {}, len(asked), series):
                series.add(*trace_some(pool, asked))
            progress(f"repeat {repeat} of {repeats}: {series.rates[-1]:,.0f} traces/s")
        violations = arena.check(database, quiesced=False)
    return {
        "payments": payments,
        "variants": [series.summary()],
        "ratios": {"trace_among_these_p95_ms": percentiles(series.latencies)["p95_ms"]},
        "violations": violations,
        "note": "by reference: find the payment, then every piece of evidence about it in time order; as many"
        " others are traced before",
    }


def references_of(conn: Connection, count: int = TRACES, state: str = "settled") -> list[str]:
    """References of payments from everywhere in the table."""
    row = conn.execute("select reltuples::float8 as n from pg_class where oid = 'payments'::regclass").fetchone()
    assert row is not None
    share = min(100.0, 100.0 * SAMPLED * count / max(row["n"], 1.0))
    query = "select reference from payments tablesample bernoulli (%s) where state = %s"
    found = [row["reference"] for row in conn.execute(query, [share, state])]
    return random.sample(found, min(count, len(found)))


def some_apart(conn: Connection, state: str = "settled") -> tuple[list[str], list[str]]:
    """References to warm up with, and as many others to be asked for."""
    found = references_of(conn, 2 * TRACES, state)
    return found[: len(found) // 2], found[len(found) // 2 :]


@contextmanager
def tracing(database: Clone, warm_up: Sequence[str]) -> Iterator[Database]:
    """One connection that has traced these before: its statements are planned, and of an index the top is in memory."""
    with Database(database.url, size=1, application="trace") as pool:
        trace_some(pool, warm_up)
        yield pool


def trace_some(pool: Database, references: Sequence[str]) -> tuple[float, list[float]]:
    """Traces per second, and the seconds of each, of the payments of these references; the server has counted them."""
    seconds = []
    for reference in references:
        began = time.perf_counter()
        rows = pool.transact(OPERATOR, lambda tx, reference=reference: _trace(tx, reference))
        seconds.append(time.perf_counter() - began)
        assert rows, f"{reference} has a history"
    # a session tells what it did once a second, or when it is asked to
    pool.transact(OPERATOR, lambda tx: tx.connection.execute("select pg_stat_force_next_flush()"))
    return len(references) / sum(seconds), seconds


def _trace(tx: Any, reference: str) -> list[dict[str, Any]]:
    [payment] = trace.candidates(tx, reference)
    return trace.evidence(tx, payment)
