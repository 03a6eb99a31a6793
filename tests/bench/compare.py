"""The same step per delivery by every queue: ours, stock Procrastinate, PgQueuer, graphile-worker; and by SQL alone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import limits, pgbench
from tests.bench.arena import Arena, until
from tests.bench.backlog import prepare
from tests.bench.cpu import named, used
from tests.bench.deliver import rate_of
from tests.bench.measure import Series, ratio
from tests.bench.memory import children_of
from tests.bench.peers import environments
from tests.bench.promised import promise
from tests.fixtures.database import Clone, Connection

HANDLER, NEXT = "bench_step", "bench_next"
# When the backlog is there: until then a remote delivery is one that nobody here would run.
SUBSCRIBE = "insert into subscriptions (topic, handler, lane) values ('payment.authorized', %s, 'remote')"
# What another's queue holds has no job in ours, and is nothing that does not move.
LEFT_TO_ANOTHER = "update deliveries set due_at = clock_timestamp() + interval '1 day' where status = 'pending'"
PEERS = Path(__file__).parent / "peers"
WORKERS = 2
# A variant that has not drained by then is measured over what it did.
LONGEST_SECONDS = 10.0
PATIENCE_SECONDS = 120.0
GROUP = 200

OURS, STOCK, PGQUEUER, GRAPHILE, ONE, SET = "ours", "stock", "pgqueuer", "graphile", "pgbench", "limit"
ONE_BY_ONE = "ours one by one"
NAMES = {
    OURS: f"ours: {WORKERS} x postbox worker, carrying",
    ONE_BY_ONE: f"ours: {WORKERS} x postbox worker, carrying, the handler run one by one",
    STOCK: f"stock Procrastinate: {WORKERS} workers, async, concurrency 10",
    PGQUEUER: f"PgQueuer: {WORKERS} consumers, uvloop, batches of 100",
    GRAPHILE: f"graphile-worker: {WORKERS} runners, local queue, batched completion",
    ONE: "pgbench: one delivery a transaction, 4 clients",
    SET: f"the limit: {GROUP} deliveries a statement, 2 clients of pgbench",
}
QUEUES = (STOCK, PGQUEUER, GRAPHILE)


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Drain the same backlog by each in turn; every delivery is a state change, audited, with a next delivery."""
    series = {name: Series(text, "deliveries/s") for name, text in NAMES.items()}
    progress("environments of the other queues")
    versions = environments.build() | {"Procrastinate": version("procrastinate")}
    with arena.database() as prepared:
        prepared.connect(admin=True).execute((PEERS / "step.sql").read_bytes())
        progress(f"preparing {payments} payments")
        prepare(prepared, payments, HANDLER)
        prepared.connect(admin=True).execute(SUBSCRIBE, [NEXT])
        prepared.close()
        for repeat in range(1, repeats + 1):
            for name, one in series.items():
                with arena.database(prepared.name) as database:
                    _drain(arena, database, name, one, payments)
                    arena.check(database, quiesced=False)
                progress(f"repeat {repeat} of {repeats}: {name} {one.rates[-1]:,.0f} deliveries/s, check clean")
    for one in series.values():
        one.count(payments=1, deliveries=1)
    best = max((series[name] for name in QUEUES), key=lambda one: one.median)
    return {
        "payments": payments,
        "variants": [one.summary() for one in series.values()],
        "ratios": {
            "deliver_vs_best_peer": ratio(series[OURS], best),
            "deliver_vs_sql_limit": ratio(series[OURS], series[SET]),
            "deliver_vs_stock": ratio(series[OURS], series[STOCK]),
            "deliver_one_by_one_vs_best_peer": ratio(series[ONE_BY_ONE], best),
        },
        "limits": {
            key: limits.by_cpu(series[OURS], to, promise(key).aim, "delivery")
            for key, to in (
                ("deliver_vs_best_peer", best),
                ("deliver_vs_sql_limit", series[SET]),
                ("deliver_vs_stock", series[STOCK]),
            )
        },
        "violations": 0,
        "versions": versions,
        "note": f"one step: claim, state change with audit and event, next delivery enqueued in the same transaction,"
        f" done. Every other queue does it by one statement and commits each alone, as pgbench does; ours commits"
        f" groups. Ours is `postbox worker` without its remote lane and its comparing of books, neither of which the"
        f" others have. Best of them: {best.name}. {', '.join(f'{name} {of}' for name, of in versions.items())}",
    }


def _drain(arena: Arena, database: Clone, name: str, series: Series, payments: int) -> None:
    conn = database.connect(admin=True)
    conn.execute("select bench_know(%s)", [name != ONE_BY_ONE])
    queue = OURS if name == ONE_BY_ONE else name
    environments.adopt(arena, database, queue)
    if queue in (ONE, SET):
        before = used(arena.cluster, {})
        _by_pgbench(arena, database, queue, payments)
    else:
        with _working(arena, database, queue) as processes:
            before = used(arena.cluster, processes)
            deadline = time.monotonic() + (PATIENCE_SECONDS if queue == OURS else LONGEST_SECONDS)
            while _is_pending(conn) and time.monotonic() < deadline:
                time.sleep(0.05)
            cost = used(arena.cluster, processes).since(before)
    if queue in (ONE, SET):
        cost = used(arena.cluster, {}).since(before)
    left, following = _pending(conn)
    done = payments - left
    assert following == done, "every step enqueues the next delivery"
    if queue in environments.ENQUEUE:
        conn.execute(LEFT_TO_ANOTHER)
    series.add(rate_of(conn, HANDLER))
    series.spent(cost, done)


def _by_pgbench(arena: Arena, database: Clone, name: str, payments: int) -> None:
    if name == SET:
        script, clients, count = f"select bench_group({GROUP});", 2, payments // GROUP + 4
    else:
        script, clients, count = ONE_DELIVERY, 4, payments
    pgbench.run(arena, database, script, clients=clients, transactions=count, name=name, role="postbox_worker")


ONE_DELIVERY = """
select coalesce(id, 0) as job_id, args ->> 'merchant_id' as merchant_id, args ->> 'event_id' as event_id
from procrastinate_fetch_job_v2(array['local'], null) \\gset
\\if :job_id > 0
select bench_deliver(:merchant_id::uuid, :event_id::uuid);
delete from procrastinate_jobs where id = :job_id;
\\endif
"""


@contextmanager
def _working(arena: Arena, database: Clone, name: str) -> Iterator[dict[str, int]]:
    """The processes of a queue, held back until all of them are there."""
    with ExitStack() as running:
        with environments.held_back(database, name):
            processes = [
                running.enter_context(environments.started(arena, database, name, number)) for number in range(WORKERS)
            ]
            until(
                lambda: environments.ready(database, map(_family, processes)), f"{name}:\n{arena.log(name)}", seconds=60
            )
        yield named("process", (pid for process in processes for pid in _family(process)))


def _family(process: subprocess.Popen[bytes]) -> list[int]:
    """A process and those it started."""
    return [process.pid, *children_of(process.pid)]


def _pending(conn: Connection) -> tuple[int, int]:
    """How many steps are left, and how many next deliveries were enqueued; at one moment."""
    query = (
        "select count(*) filter (where handler = %s) as left, count(*) filter (where handler = %s) as following"
        " from deliveries where status = 'pending' and job_id is not null"
    )
    row = conn.execute(query, [HANDLER, NEXT]).fetchone()
    assert row is not None
    return int(row["left"]), int(row["following"])


def _is_pending(conn: Connection) -> bool:
    query = (
        "select 1 from deliveries where status = 'pending' and job_id is not null and lane = 'local'"
        " order by merchant_id limit 1"
    )
    return conn.execute(query).fetchone() is not None
