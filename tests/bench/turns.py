"""What the benchmarks of large databases do in a turn: a database to do it in, and what is done and measured there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.db import Database
from tests import factories
from tests.bench import pgbench
from tests.bench.accept import CLIENTS, script_of_one_post
from tests.bench.arena import Arena
from tests.bench.backlog import prepare
from tests.bench.counted import counting
from tests.bench.deliver import drain_by_ours, rate_of
from tests.bench.lives import FINISH
from tests.bench.measure import Series, spending
from tests.bench.trace import some_apart, trace_some, tracing
from tests.fixtures.database import KEY_PEPPER, Clone

# Up to here every turn has a fresh clone; a larger database grows by what its turns accept and deliver.
CLONED_UP_TO = 100_000
# What each turn accepts and delivers.
ACCEPTED, DELIVERED = 2_000, 4_000
WHAT = ("accept", "deliver", "trace")


@contextmanager
def turn_of(arena: Arena, database: Clone, size: int) -> Iterator[Clone]:
    """What one turn may change; a clone is checked before it is gone, what stays is checked once, at the end."""
    if size > CLONED_UP_TO:
        with kept_turn_of(arena, database):
            yield database
        return
    with arena.database(database.name) as clone:
        yield clone
        arena.check(clone, quiesced=False)


@contextmanager
def kept_turn_of(arena: Arena, database: Clone) -> Iterator[Clone]:
    """The same in the database itself, which keeps what the turn leaves behind; it is checked at the end of all."""
    # as a clone begins
    arena.checkpoint()
    yield database
    database.close()


def series_of(where: str) -> dict[str, Series]:
    """One series for each thing that a turn measures."""
    return {what: Series(f"{what}, {where}", "per second") for what in WHAT}


def one_turn(arena: Arena, database: Clone, series: dict[str, Series]) -> None:
    """Trace some, accept some, deliver some."""
    trace_others(arena, database, series["trace"])
    accept_some(arena, database, ACCEPTED, series["accept"])
    began = database.connect(admin=True).execute("select uuidv7() as event").fetchone()
    assert began is not None
    prepare(database, DELIVERED, reference="new ", clean=False)
    # who ends tells what he touched, which is none of the drain's
    database.close()
    with counting(arena.cluster, series["deliver"], DELIVERED):
        cost, _ = drain_by_ours(arena, database)
        database.close()
    series["deliver"].spent(cost, DELIVERED)
    series["deliver"].add(rate_of(database.connect(admin=True), events_from=began["event"]))


def told(series: dict[str, Series]) -> str:
    """What the last turn measured."""
    return ", ".join(f"{what} {one.rates[-1]:,.0f}/s" for what, one in series.items())


def trace_others(arena: Arena, database: Clone, series: Series, state: str = "settled") -> None:
    """Payments that nobody asked for before, beside others that warm up indexes, plans and the connection."""
    warm_up, asked = some_apart(database.connect(admin=True), state)
    database.close()
    with tracing(database, warm_up) as pool:
        trace_these(arena, pool, asked, series)


def trace_these(arena: Arena, pool: Database, references: Sequence[str], series: Series) -> None:
    """One after the other."""
    count = len(references)
    with counting(arena.cluster, series, count), spending(arena.cluster, {}, count, series):
        series.add(*trace_some(pool, references))


def accept_some(arena: Arena, database: Clone, count: int, series: Series) -> None:
    """So many by pgbench; they are canceled afterwards, and nobody's backlog."""
    conn = database.connect(admin=True)
    key = factories.api_key(conn, factories.merchant(conn)["id"], pepper=KEY_PEPPER)
    script = script_of_one_post(key)
    database.close()
    with counting(arena.cluster, series, count), spending(arena.cluster, {}, count, series):
        series.add(
            *pgbench.run(arena, database, script, clients=CLIENTS, transactions=count, name="turn", role="postbox_api")
        )
    conn = database.connect(admin=True)
    with factories.acting(conn, "operator"):
        conn.execute("update payments set state = 'canceled', cancel_reason = 'abandoned' where state = 'initiated'")
    conn.execute(f"{FINISH} and lane = 'remote'".encode())
    conn.execute("delete from procrastinate_jobs where queue_name = 'remote'")
