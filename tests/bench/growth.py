"""What accepting, delivering and tracing cost among ten thousand, a hundred thousand and a million payments."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from tests.bench import disk, limits
from tests.bench.arena import Arena
from tests.bench.history import MERCHANTS, grown, lived
from tests.bench.measure import Series, percentiles, ratio
from tests.bench.trace import references_of, tracing
from tests.bench.turns import DELIVERED, WHAT, kept_turn_of, one_turn, series_of, told, trace_these
from tests.fixtures.database import Clone

SIZES = (10_000, 100_000, 1_000_000)
# Of so many from everywhere hardly two share a page of a table, even among ten thousand. A disk is another one from
# minute to minute, so that few are traced in one database before it is the other's turn.
APART, IN_TURN = 50, 5
# What so many pages take from the disk is told beside what the traces of a turn take that read them.
PAGES = 100


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
    from_disk = {size: Series(f"trace from the disk, {size:,} payments", "per second") for size in sizes}
    again = {size: Series(f"trace again, {size:,} payments", "per second") for size in sizes}
    pages = {size: Series(f"a page from the disk by itself, {size:,} payments", "per second") for size in sizes}
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
        for repeat in range(1, repeats + 1):
            trace_alike(arena, databases, from_disk, again, pages)
            for size in sizes:
                found = f"{from_disk[size].median:,.0f}/s from the disk, {again[size].median:,.0f}/s again"
                found += f"; {pages[size].median:,.0f} pages/s by themselves"
                progress(f"repeat {repeat} of {repeats}: {size:,} payments, trace {found}, so far")
        for size, database in databases.items():
            began = time.monotonic()
            arena.check(database, quiesced=False)
            progress(f"{size:,} payments: check clean, in {time.monotonic() - began:.0f} s")
    small, large = by_size[least], by_size[sizes[-1]]
    traces = {"trace": {size: series["trace"] for size, series in by_size.items()}}
    traces |= {"trace from the disk": from_disk, "trace again": again}
    grown_by = {
        f"growth_{what}": limits.by_buffers(what, {size: series[what] for size, series in by_size.items()})
        for what in WHAT
    }
    told_of_traces = [limits.by_buffers(what, by) for what, by in traces.items()]
    grown_by["growth_trace"] = " ".join([*told_of_traces, limits.by_pages(from_disk, pages)])
    return {
        "payments": sizes[-1],
        "variants": [by_size[size][what].summary() for what in WHAT for size in sizes]
        + [by[size].summary() for by in (from_disk, again, pages) for size in sizes],
        "ratios": {f"growth_{what}": ratio(large[what], small[what]) for what in ("accept", "deliver")}
        | {"growth_trace": ratio(from_disk[sizes[-1]], from_disk[least])}
        | {"growth_trace_again": ratio(again[sizes[-1]], again[least])}
        | {"growth_trace_as_it_comes": ratio(large["trace"], small["trace"])}
        | {"trace_p95_ms": percentiles(large["trace"].latencies)["p95_ms"]},
        "limits": grown_by
        | {"trace_p95_ms": f"{grown_by['growth_trace']} {limits.by_percentiles('trace', large['trace'])}"},
        "violations": 0,
        "note": f"accept is the SQL of one POST by pgbench, deliver two workers on {DELIVERED:,} deliveries, trace by"
        f" reference, of payments that nobody traced before: of a small database that is in memory as it comes, of a"
        f" large one on the disk, so that the ratio is told of both from the disk, of both asked for again, and as it"
        f" comes. Before those from the disk the server begins anew, the system is asked to forget its files, and"
        f" {APART} of every {least:,} are traced; then {IN_TURN} of each database in turns, and the ratio is the median"
        f" of these turns. Each database keeps what its turns leave behind, a warm-up turn's too. Every size has the"
        f" same {MERCHANTS} merchants at most, and copies have the times of their originals, minutes ago: nothing is"
        f" old enough that retention would take it.",
    }


def trace_alike(
    arena: Arena,
    databases: Mapping[int, Clone],
    from_disk: Mapping[int, Series],
    again: Mapping[int, Series],
    pages: Mapping[int, Series],
) -> None:
    """Payments of which nothing is in memory, a few of each database in turns, and then the same ones once more.

    Few of them, so that they are as far apart in a small database as in a large one; and so many were traced before,
    the same share of each, that of every index what leads to its leaves is in memory. After each turn pages from
    anywhere in the files of its database are read as PostgreSQL reads one, and without it.
    """
    least = min(databases)
    found = {
        size: references_of(database.connect(admin=True), APART * size // least + APART)
        for size, database in databases.items()
    }
    files = {size: arena.files_of(database) for size, database in databases.items()}
    for database in databases.values():
        database.close()
    arena.forget()
    with ExitStack() as opened:
        pools = {
            size: opened.enter_context(tracing(database, found[size][APART:])) for size, database in databases.items()
        }
        for all_turns in (from_disk, again):
            turns = {size: Series(series.name, series.unit) for size, series in all_turns.items()}
            for first in range(0, APART, IN_TURN):
                for size, pool in pools.items():
                    trace_these(arena, pool, found[size][first : first + IN_TURN], turns[size])
                    if all_turns is from_disk:
                        seconds = disk.read_some(files[size], PAGES)
                        pages[size].add(len(seconds) / sum(seconds), seconds)
            for size, series in all_turns.items():
                series.extend(turns[size])
    for size in databases:
        first, second = (series[size].samples["buffers_read"][-1] for series in (from_disk, again))
        assert first > second, f"of one {first:g} buffers were read at first, and {second:g} when asked for again"
