"""What many provider calls in flight cost one worker in memory: a provider that answers late, and waves."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

from tests import factories
from tests.bench.arena import Arena, until
from tests.bench.deliver import OUR_WORKER
from tests.bench.measure import Series, spending
from tests.bench.memory import children_of
from tests.bench.synchronous import slow
from tests.fixtures.database import Connection
from tests.fixtures.sandbox import running_sandbox

# Long enough that calls add up, and half of the time after which an answer counts as late.
SLOW_SECONDS = 5.0
# Short enough that the bound grows with each answer, and long enough that all slots are in use.
PROMPT_SECONDS = 2.0
# The first wave has so few payments that the bound, which begins with 16, keeps nobody waiting.
FEW = 8
# So many at least a usual wave has in flight, and so much at most each of them may take: its thread, its connection.
MANY, PER_CALL_MB = 100, 0.25
# Nothing is answered by webhook here: the confirm's own answer is what moves a payment.
CONFIRMED_SECONDS = 600.0
OPEN = "select count(*) as n from provider_calls where finished_at is null"
LEFT = "select count(*) as n from payments where state in ('initiated', 'submitting', 'outcome_unknown', 'submitted')"


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """A few payments, and then a wave per repeat, by one worker: the calls in flight, and its memory in and after."""
    calls = Series("calls in flight at most", "calls")
    memory = {when: Series(f"resident {when}", "MB") for when in ("with few calls", "with many", "after the wave")}
    ledger = arena.directory / "flight-ledger.jsonl"
    with arena.database() as database, running_sandbox(ledger, "--time-scale", "1.0") as sandbox, ExitStack() as on:
        conn = database.connect(admin=True)
        merchant = factories.merchant(conn)["id"]
        env = arena.environment(database, STRIPE_API_BASE=sandbox.url)
        worker = on.enter_context(arena.running("flight", *OUR_WORKER, env=env))
        factories.payment(conn, merchant_id=merchant)
        until(lambda: not _count(conn, LEFT), f"the first payment:\n{arena.log('flight')}", seconds=60)
        with slow(sandbox, SLOW_SECONDS):
            few, least = _wave(conn, merchant, worker.pid, FEW)
        assert few <= 2 * FEW, f"{few} calls at once are not few"
        memory["with few calls"].add(least)
        # prompt answers let the worker have more calls in flight; slow ones would not, nor such as come at once
        with slow(sandbox, PROMPT_SECONDS):
            _wave(conn, merchant, worker.pid, payments)
        for repeat in range(1, repeats + 1):
            processes = {"worker": worker.pid, "sandbox": sandbox.process.pid}
            with slow(sandbox, SLOW_SECONDS), spending(arena.cluster, processes, payments, calls):
                most, peak = _wave(conn, merchant, worker.pid, payments)
            calls.add(most)
            memory["with many"].add(peak)
            memory["after the wave"].add(_megabytes(worker.pid))
            progress(f"repeat {repeat} of {repeats}: {most} calls in flight, {peak:,.0f} MB; {least:,.0f} with {few}")
        violations = arena.check(database, quiesced=False)
    most, peak = max(calls.rates), max(memory["with many"].rates)
    assert most >= min(MANY, payments // 4), f"{most} calls were in flight at most"
    told = f"{peak:.0f} MB with {most} calls in flight, {least:.0f} MB with {few}"
    assert peak <= least + PER_CALL_MB * max(most, MANY), told
    return {
        "payments": payments,
        "variants": [calls.summary(), *(one.summary() for one in memory.values())],
        "ratios": {
            "flight_calls": most,
            "flight_few_mb": round(least, 1),
            "flight_mb": round(peak, 1),
            "flight_mb_per_call": round((peak - least) / most, 3),
        },
        "violations": violations,
        "note": f"one worker; every call takes {SLOW_SECONDS:g} s. With {few} calls in flight it had {least:.0f} MB,"
        f" with {most} {peak:.0f}; what it has after each wave shows whether memory grows with their number.",
    }


def _wave(conn: Connection, merchant: UUID, pid: int, payments: int) -> tuple[int, float]:
    """So many payments at once; the most calls open together and the most memory until each has its answer."""
    for _ in range(payments):
        factories.payment(conn, merchant_id=merchant)
    return _watch(conn, pid)


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
