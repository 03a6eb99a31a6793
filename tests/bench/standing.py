"""What delivering, accepting and tracing cost while a backlog stands that no turn comes to the end of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.bench.arena import Arena
from tests.bench.backlog import prepare
from tests.bench.copies import multiplied
from tests.bench.cpu import used
from tests.bench.deliver import ANY_PENDING, OURS, rate_of, working
from tests.bench.measure import Series, ratio
from tests.bench.turns import CLONED_UP_TO, accept_some, trace_others, turn_of
from tests.fixtures.database import Clone, Connection

# Payments that are made by the triggers; all others are copies of them.
ORIGINALS, MERCHANTS = 500, 20
# Two workers deliver so many in one turn, and at most this share of the backlog.
DELIVERED, SHARE = 30_000, 0.6
# The smallest that makes a turn long enough to tell a rate, with a rest that stands while payments are accepted: the
# server tells a second late what it counted, and two workers do thousands in it.
LEAST = 50_000
ACCEPTED = 2_000
PATIENCE_SECONDS = 120.0
WHAT = ("deliver", "accept", "trace")
# What is done is one update each, which the server counts: to count what is left would cost more than to deliver it.
CHANGED = "select n_tup_upd as n, clock_timestamp() as at from pg_stat_user_tables where relname = 'deliveries'"


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """A backlog of so many deliveries, of as many payments, in turns with one that is as small as a turn allows."""
    sizes = sorted({min(LEAST, payments // 2), payments})
    found = {
        size: {what: Series(f"{what}, {size:,} deliveries pending", "per second") for what in WHAT} for size in sizes
    }
    with ExitStack() as made:
        databases = {size: made.enter_context(backlog(arena, size, progress=progress)) for size in sizes}
        for repeat in range(1, repeats + 1):
            for size, series in found.items():
                with turn_of(arena, databases[size], size) as database:
                    _one_turn(arena, database, min(DELIVERED, int(size * SHARE)), series)
                told = ", ".join(f"{what} {one.rates[-1]:,.0f}/s" for what, one in series.items())
                progress(f"repeat {repeat} of {repeats}: {size:,} pending, {told}")
        for size in sizes:
            if size > CLONED_UP_TO:
                arena.check(databases[size], quiesced=False)
    few, many = found[sizes[0]], found[sizes[-1]]
    return {
        "payments": payments,
        "variants": [by[what].summary() for what in WHAT for by in found.values()],
        "ratios": {f"backlog_{what}": ratio(many[what], few[what]) for what in WHAT},
        "violations": 0,
        "note": f"two workers deliver {DELIVERED:,} of it, or {SHARE:.0%}; then payments are accepted and traced while"
        f" the rest stands; {sizes[-1]:,} pending are compared with {sizes[0]:,}",
    }


@contextmanager
def backlog(
    arena: Arena,
    size: int,
    *,
    merchants: int = MERCHANTS,
    local_only: bool = False,
    progress: Callable[[str], None],
) -> Iterator[Clone]:
    """So many submitted payments, to the next whole number of copies, each with a local delivery and its job.

    `local_only`: no payment has anything to do with a provider, those that come later neither.
    """
    with arena.database() as originals:
        if local_only:
            originals.connect(admin=True).execute("delete from subscriptions where lane = 'remote'")
        prepare(originals, min(ORIGINALS, size), merchants=merchants)
        originals.close()
        began = time.monotonic()
        with multiplied(arena, originals, f"backlog_{size}", -(-size // ORIGINALS), progress) as database:
            progress(f"{size:,} pending deliveries made in {time.monotonic() - began:.0f} s")
            yield database


def _one_turn(arena: Arena, database: Clone, count: int, series: dict[str, Series]) -> None:
    deliver_some(arena, database, count, series["deliver"])
    accept_some(arena, database, ACCEPTED, series["accept"])
    trace_others(arena, database, series["trace"], state="submitted")


def deliver_some(arena: Arena, database: Clone, count: int, series: Series) -> None:
    """Deliveries per second of two workers, until `count` are done, and what one costs."""
    conn = database.connect(admin=True)
    began = conn.execute(CHANGED).fetchone()
    assert began is not None
    deadline = time.monotonic() + PATIENCE_SECONDS
    with working(arena, database, OURS) as processes:
        before = used(arena.cluster, processes)
        while (changed := _changed(conn)) < began["n"] + count:
            assert time.monotonic() < deadline, f"{count} deliveries took longer:\n{arena.log(OURS)}"
            time.sleep(0.2)
        series.spent(used(arena.cluster, processes).since(before), changed - began["n"])
    assert conn.execute(ANY_PENDING).fetchone(), "a backlog that stands is never emptied"
    series.add(rate_of(conn, since=began["at"]))


def _changed(conn: Connection) -> int:
    row = conn.execute(CHANGED).fetchone()
    assert row is not None
    return int(row["n"])
