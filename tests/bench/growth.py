"""What accepting, delivering and tracing cost in a large database, against a small one, and beside an old snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from tests import factories
from tests.bench import pgbench
from tests.bench.accept import CLIENTS, script_of_one_post
from tests.bench.arena import Arena, check
from tests.bench.backlog import prepare
from tests.bench.deliver import drain_by_ours, rate_of
from tests.bench.history import FINISH, fill
from tests.bench.measure import Series, percentiles, ratio
from tests.bench.trace import trace_some
from tests.fixtures.database import KEY_PEPPER, Clone

# The small database; the large one has as many payments as the benchmark is told.
SMALL = 10_000
# What each turn accepts and delivers.
ACCEPTED, DELIVERED = 2_000, 4_000


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Small, large, and large beside a snapshot that has been open all the while, in turns."""
    sizes = {"small": min(SMALL, payments), "large": payments, "snapshot": payments}
    series = {
        what: {name: Series(f"{what}, {size:,} payments{OLD[name]}", "per second") for name, size in sizes.items()}
        for what in ("accept", "deliver", "trace")
    }
    with arena.database() as small, arena.database() as large:
        for database, size in ((small, sizes["small"]), (large, payments)):
            progress(f"making {size:,} payments with their history")
            fill(database, size)
            database.close()
        for repeat in range(1, repeats + 1):
            for name in sizes:
                with arena.database((small if name == "small" else large).name) as database:
                    with _old_snapshot(database) if name == "snapshot" else nullcontext():
                        _one_turn(arena, database, {what: series[what][name] for what in series})
                    check(database, quiesced=False)
                progress(f"repeat {repeat} of {repeats}: {name}, check clean")
    return {
        "payments": payments,
        "variants": [one.summary() for by_size in series.values() for one in by_size.values()],
        "ratios": {f"growth_{what}": ratio(by["large"], by["small"]) for what, by in series.items()}
        | {f"snapshot_{what}": ratio(by["snapshot"], by["small"]) for what, by in series.items()}
        | {"trace_p95_ms": percentiles(series["trace"]["large"].latencies)["p95_ms"]},
        "violations": 0,
        "note": f"accept is the SQL of one POST by pgbench, deliver two workers on {DELIVERED} deliveries, trace by"
        " reference; the snapshot is open while the turn runs and keeps every dead row",
    }


OLD = {"small": "", "large": "", "snapshot": ", beside an open snapshot"}


def _one_turn(arena: Arena, database: Clone, series: dict[str, Series]) -> None:
    conn = database.connect(admin=True)
    key = factories.api_key(conn, factories.merchant(conn)["id"], pepper=KEY_PEPPER)
    series["trace"].add(*trace_some(database))
    script = script_of_one_post(key)
    series["accept"].add(
        *pgbench.run(arena, database, script, clients=CLIENTS, transactions=ACCEPTED, name="growth", role="postbox_api")
    )
    conn.execute(FINISH)
    conn.execute("delete from procrastinate_jobs")
    # what was accepted is nobody's backlog
    with factories.acting(conn, "operator"):
        conn.execute("update payments set state = 'canceled', cancel_reason = 'abandoned' where state = 'initiated'")
    conn.execute(FINISH)
    conn.execute("delete from procrastinate_jobs")
    prepare(database, DELIVERED, reference="new ", clean=False)
    began = conn.execute("select clock_timestamp() as at").fetchone()
    assert began is not None
    drain_by_ours(arena, database)
    series["deliver"].add(rate_of(conn, since=began["at"]))


@contextmanager
def _old_snapshot(database: Clone) -> Iterator[None]:
    """A reader that began before everything here and does not end: nothing that dies meanwhile can be removed."""
    conn = database.connect(admin=True, autocommit=False)
    conn.execute("set transaction isolation level repeatable read")
    conn.execute("select count(*) from merchants")
    yield
    conn.rollback()
