"""What accepting, delivering and tracing cost among ten thousand, a hundred thousand and a million payments."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from tests.bench import standing
from tests.bench.arena import Arena, check
from tests.bench.backlog import prepare
from tests.bench.deliver import drain_by_ours, rate_of
from tests.bench.history import grown, lived
from tests.bench.measure import Series, percentiles, ratio
from tests.bench.trace import references_of, trace_some
from tests.bench.turns import CLONED_UP_TO, accept_some, turn_of
from tests.fixtures.database import Clone

SIZES = (10_000, 100_000, 1_000_000)
# What each turn accepts and delivers.
ACCEPTED, DELIVERED = 2_000, 4_000
# How long a snapshot is open before its last turn is measured, in seconds of accepting and delivering at full speed.
SNAPSHOT_AGE = 60.0
WHAT = ("accept", "deliver", "trace")


def measure(
    arena: Arena,
    *,
    payments: int,
    repeats: int,
    progress: Callable[[str], None],
    sizes: Sequence[int] = (),
    snapshot_age: float = SNAPSHOT_AGE,
) -> dict[str, Any]:
    """A turn at each size and one beside an old snapshot, `repeats` times; then the same beside a standing backlog."""
    sizes = sorted(sizes or [size for size in SIZES if size < payments] + [payments])
    by_size = {size: _series(f"{size:,} payments") for size in sizes}
    beside = _series(f"{sizes[0]:,} payments, beside an old snapshot")
    held = []
    with ExitStack() as made:
        originals = made.enter_context(lived(arena, sizes[0]))
        databases = {size: made.enter_context(grown(arena, originals, size, progress)) for size in sizes}
        for size in sizes:
            if size > CLONED_UP_TO:
                # a clone was just copied, and is in memory
                _one_turn(arena, databases[size], _series("warm-up"))
                databases[size].close()
                progress(f"{size:,} payments: one turn to warm up")
        for repeat in range(1, repeats + 1):
            for size, series in by_size.items():
                with turn_of(arena, databases[size], size) as database:
                    _one_turn(arena, database, series)
                progress(f"repeat {repeat} of {repeats}: {size:,} payments, {_told(series)}")
            with arena.database(databases[sizes[0]].name) as database:
                held.append(_beside_a_snapshot(arena, database, beside, snapshot_age))
                check(database, quiesced=False)
            progress(f"repeat {repeat} of {repeats}: snapshot {held[-1]}, {_told(beside)}")
        for size in sizes:
            if size > CLONED_UP_TO:
                began = time.monotonic()
                check(databases[size], quiesced=False)
                progress(f"{size:,} payments: check clean, in {time.monotonic() - began:.0f} s")
    backlog = standing.measure(arena, sizes=(sizes[0], sizes[-1]), repeats=repeats, progress=progress)
    small, large = by_size[sizes[0]], by_size[sizes[-1]]
    return {
        "payments": sizes[-1],
        "variants": [
            *(by_size[size][what].summary() for what in WHAT for size in sizes),
            *(one.summary() for one in beside.values()),
            *(one.summary() for one in backlog.series),
        ],
        "ratios": {f"growth_{what}": ratio(large[what], small[what]) for what in WHAT}
        | {f"snapshot_{what}": ratio(beside[what], small[what]) for what in WHAT}
        | backlog.ratios
        | {"trace_p95_ms": percentiles(large["trace"].latencies)["p95_ms"]},
        "limits": {f"growth_{what}": _limit(what, by_size) for what in WHAT},
        "violations": 0,
        "note": f"accept is the SQL of one POST by pgbench, deliver two workers on {DELIVERED:,} deliveries, trace by"
        f" reference; turns of up to {CLONED_UP_TO:,} payments have a fresh clone each. The snapshot: {held[-1]}."
        f" The backlog: {backlog.note}",
    }


def _series(where: str) -> dict[str, Series]:
    return {what: Series(f"{what}, {where}", "per second") for what in WHAT}


def _limit(what: str, by_size: dict[int, dict[str, Series]]) -> str:
    """What each size did, and how far the turns of one lie apart: what is nearer than that is no growth."""
    told = [f"{series[what].median:,.0f}/s among {size:,}" for size, series in by_size.items()]
    rates = next(iter(by_size.values()))[what].rates
    return f"{', '.join(told)}; turns of the smallest alone lie between {min(rates):,.0f} and {max(rates):,.0f}/s."


def _told(series: dict[str, Series]) -> str:
    return ", ".join(f"{what} {one.rates[-1]:,.0f}/s" for what, one in series.items())


def _one_turn(arena: Arena, database: Clone, series: dict[str, Series]) -> None:
    conn = database.connect(admin=True)
    references = references_of(conn)
    # twice: the first time reads from the disk what a running system has read before
    trace_some(database, references)
    series["trace"].add(*trace_some(database, references))
    series["accept"].add(*accept_some(arena, database, ACCEPTED))
    began = conn.execute("select uuidv7() as event").fetchone()
    assert began is not None
    prepare(database, DELIVERED, reference="new ", clean=False)
    drain_by_ours(arena, database)
    series["deliver"].add(rate_of(conn, events_from=began["event"]))


def _beside_a_snapshot(arena: Arena, database: Clone, series: dict[str, Series], age: float) -> str:
    """Turns until the snapshot is old enough, the last of which counts; nothing that dies meanwhile can be removed."""
    conn = database.connect(admin=True, autocommit=False)
    conn.execute("set transaction isolation level repeatable read")
    conn.execute("select count(*) from merchants")
    began, turns, last = time.monotonic(), 0, time.monotonic()
    found: dict[str, Series] = {}
    while not found or last - began < age:
        found = _series("aging")
        _one_turn(arena, database, found)
        turns, last = turns + 1, time.monotonic()
    for what, one in found.items():
        series[what].add(one.rates[-1], one.latencies)
    conn.rollback()
    accepted, delivered = turns * ACCEPTED, turns * DELIVERED
    return f"open for {last - began:.0f} s, in which {accepted:,} were accepted and {delivered:,} delivered"
