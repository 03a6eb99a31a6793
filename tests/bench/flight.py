"""What hundreds of provider calls in flight cost one worker in memory: a provider that answers late, and two waves."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests import factories
from tests.bench.arena import Arena, until
from tests.bench.deliver import OUR_WORKER
from tests.bench.measure import Series, spending
from tests.bench.memory import children_of
from tests.fixtures.database import Connection
from tests.fixtures.sandbox import running_sandbox

# Long enough that calls add up, and far from the time after which an answer counts as late.
SLOW_SECONDS = 2.0
# Nothing is answered by webhook here: the confirm's own answer is what moves a payment.
CONFIRMED_SECONDS = 600.0
OPEN = "select count(*) as n from provider_calls where finished_at is null"
LEFT = "select count(*) as n from payments where state in ('initiated', 'submitting', 'outcome_unknown', 'submitted')"


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """One wave of payments per repeat, by one worker: the calls in flight, and its memory before, in and after it."""
    calls = Series("calls in flight at most", "calls")
    memory = {when: Series(f"resident {when}", "MB") for when in ("idle", "at the most", "after the wave")}
    ledger = arena.directory / "flight-ledger.jsonl"
    with arena.database() as database, running_sandbox(ledger, "--time-scale", "1.0") as sandbox, ExitStack() as on:
        conn = database.connect(admin=True)
        merchant = factories.merchant(conn)["id"]
        env = arena.environment(database, STRIPE_API_BASE=sandbox.url)
        worker = on.enter_context(arena.running("flight", *OUR_WORKER, env=env))
        factories.payment(conn, merchant_id=merchant)
        until(lambda: not _count(conn, LEFT), f"the first payment:\n{arena.log('flight')}", seconds=60)
        sandbox.fault(kind="slow", method="POST", count=None, seconds=SLOW_SECONDS)
        for repeat in range(1, repeats + 1):
            memory["idle"].add(_megabytes(worker.pid))
            with spending(arena.cluster, {"worker": worker.pid, "sandbox": sandbox.process.pid}, payments, calls):
                for _ in range(payments):
                    factories.payment(conn, merchant_id=merchant)
                most, peak = _watch(conn, worker.pid)
            calls.add(most)
            memory["at the most"].add(peak)
            memory["after the wave"].add(_megabytes(worker.pid))
            progress(f"repeat {repeat} of {repeats}: {most} calls in flight, {peak:,.0f} MB")
        violations = arena.check(database, quiesced=False)
    most, peak = max(calls.rates), max(memory["at the most"].rates)
    return {
        "payments": payments,
        "variants": [calls.summary(), *(one.summary() for one in memory.values())],
        "ratios": {
            "flight_calls": max(calls.rates),
            "flight_mb": max(memory["at the most"].rates),
            "flight_mb_per_call": round(
                (max(memory["at the most"].rates) - memory["idle"].rates[0]) / max(calls.rates), 3
            ),
        },
        "violations": violations,
        "note": f"one worker; every call takes {SLOW_SECONDS:g} s; the second wave shows whether memory grows",
    }


def _watch(conn: Connection, pid: int) -> tuple[int, float]:
    """The most calls open at once, and the most memory, until every payment of the wave has its answer."""
    most, peak, deadline = 0, 0.0, time.monotonic() + CONFIRMED_SECONDS
    while _count(conn, LEFT):
        assert time.monotonic() < deadline, "the wave does not end"
        most, peak = max(most, _count(conn, OPEN)), max(peak, _megabytes(pid))
        time.sleep(0.1)
    return most, peak


def _count(conn: Connection, query: str) -> int:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return int(row["n"])


def _megabytes(pid: int) -> float:
    """Resident now, of the process or the largest it started."""
    texts = [Path(f"/proc/{one}/status").read_text() for one in (pid, *children_of(pid))]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("VmRSS:")]
    return max(int(line.split()[1]) for line in lines) / 1024
