"""What accepting, delivering and tracing cost beside a snapshot that stays open: all that died since is still there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.bench.arena import Arena
from tests.bench.history import grown, lived
from tests.bench.measure import ratio
from tests.bench.turns import ACCEPTED, DELIVERED, WHAT, kept_turn_of, one_turn, series_of, told, turn_of
from tests.fixtures.database import Clone

# How old the snapshot is at least when turns beside it are measured: as a dump's or a report's may be.
SNAPSHOT_AGE = 3_600.0
# While it only ages there is a turn so often: fifty payments a second, for as long as it takes.
TURN_EVERY = 120.0


def measure(
    arena: Arena,
    *,
    payments: int,
    repeats: int,
    progress: Callable[[str], None],
    snapshot_age: float = SNAPSHOT_AGE,
) -> dict[str, Any]:
    """Turns that only leave something behind, until the snapshot is old enough; then turns beside it and without it."""
    with (
        lived(arena, payments) as originals,
        grown(arena, originals, payments, progress) as original,
        beside_a_snapshot(arena, original) as held,
    ):
        opened = time.monotonic()
        turns = age(arena, held, snapshot_age, progress)
        beside = series_of(f"beside a snapshot {time.monotonic() - opened:.0f} s old and {turns} turns behind")
        without = series_of("without")
        for repeat in range(1, repeats + 1):
            with turn_of(arena, original, payments) as database:
                one_turn(arena, database, without)
            with kept_turn_of(arena, held):
                one_turn(arena, held, beside)
            progress(f"repeat {repeat} of {repeats}: {told(beside)}; without: {told(without)}")
        seconds, turns = time.monotonic() - opened, turns + repeats
    cost = [
        f"{what} {one[what].samples['buffers'][-1]:,.1f} {where}"
        for what in WHAT
        for where, one in (("beside it", beside), ("without", without))
    ]
    return {
        "payments": payments,
        "variants": [by[what].summary() for what in WHAT for by in (beside, without)],
        "ratios": {f"snapshot_{what}": ratio(beside[what], without[what]) for what in WHAT},
        "violations": 0,
        "note": f"accept is the SQL of one POST by pgbench, deliver two workers on {DELIVERED:,} deliveries, trace by"
        f" reference. The snapshot was open for {seconds:.0f} s, in which"
        f" {turns * ACCEPTED:,} were accepted and {turns * DELIVERED:,} delivered in its database; without it each turn"
        f" has a fresh clone, so what was added meanwhile counts too. Buffers of one in the last turn:"
        f" {', '.join(cost)}.",
    }


def age(arena: Arena, held: Clone, seconds: float, progress: Callable[[str], None]) -> int:
    """One turn to warm up, and one more from time to time until so much has passed; returns how many there were."""
    end, turns = time.monotonic() + seconds, 0
    while turns == 0 or time.monotonic() < end:
        began = time.monotonic()
        series = series_of("aging")
        one_turn(arena, held, series)
        held.close()
        turns += 1
        progress(f"turn {turns} while it ages: {told(series)}")
        time.sleep(max(0.0, min(began + TURN_EVERY, end) - time.monotonic()))
    return turns


@contextmanager
def beside_a_snapshot(arena: Arena, original: Clone) -> Iterator[Clone]:
    """A clone in which the first snapshot stays open until the end; what is left then is checked."""
    with arena.database(original.name) as database:
        with psycopg.connect(database.admin_url) as holder:
            holder.execute("set transaction isolation level repeatable read")
            holder.execute("select count(*) from postbox.merchants")
            yield database
        # an hour of it is longer than any payment may be silent that a drain's comparison was put off of
        arena.check(database, quiesced=False, put_off=True)
