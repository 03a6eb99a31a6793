"""What accepting, delivering and tracing cost among ten thousand, a hundred thousand and a million payments."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from tests.bench import limits
from tests.bench.arena import Arena
from tests.bench.history import MERCHANTS, grown, lived
from tests.bench.measure import percentiles, ratio
from tests.bench.turns import DELIVERED, WHAT, kept_turn_of, one_turn, series_of, told

SIZES = (10_000, 100_000, 1_000_000)


def measure(
    arena: Arena,
    *,
    payments: int,
    repeats: int,
    progress: Callable[[str], None],
    sizes: Sequence[int] = (),
) -> dict[str, Any]:
    """Turns at each size, one after the other."""
    sizes = sorted(sizes or [size for size in SIZES if size < payments] + [payments])
    least = sizes[0]
    by_size = {size: series_of(f"{size:,} payments") for size in sizes}
    with ExitStack() as made:
        originals = made.enter_context(lived(arena, least))
        databases = {size: made.enter_context(grown(arena, originals, size, progress)) for size in sizes}
        for size, database in databases.items():
            with kept_turn_of(arena, database):
                one_turn(arena, database, series_of("warm-up"))
            progress(f"{size:,} payments: one turn to warm up")
        for repeat in range(1, repeats + 1):
            for size, series in by_size.items():
                with kept_turn_of(arena, databases[size]) as database:
                    one_turn(arena, database, series)
                progress(f"repeat {repeat} of {repeats}: {size:,} payments, {told(series)}")
        for size, database in databases.items():
            began = time.monotonic()
            arena.check(database, quiesced=False)
            progress(f"{size:,} payments: check clean, in {time.monotonic() - began:.0f} s")
    small, large = by_size[least], by_size[sizes[-1]]
    grown_by = {
        f"growth_{what}": limits.by_buffers(what, {size: series[what] for size, series in by_size.items()})
        for what in WHAT
    }
    return {
        "payments": sizes[-1],
        "variants": [by_size[size][what].summary() for what in WHAT for size in sizes],
        "ratios": {f"growth_{what}": ratio(large[what], small[what]) for what in WHAT}
        | {"trace_p95_ms": percentiles(large["trace"].latencies)["p95_ms"]},
        "limits": grown_by
        | {"trace_p95_ms": f"{grown_by['growth_trace']} {limits.by_percentiles('trace', large['trace'])}"},
        "violations": 0,
        "note": f"accept is the SQL of one POST by pgbench, deliver two workers on {DELIVERED:,} deliveries, trace by"
        f" reference, of payments that nobody traced before; each database keeps what its turns leave behind, a warm-up"
        f" turn's too. Every size has the same {MERCHANTS} merchants at most, and copies have the times of their"
        f" originals, minutes ago: nothing is old enough that retention would take it.",
    }
