"""Local deliveries per second: ours, stock Procrastinate and pgbench, each draining the same backlog."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from app.config import Timing
from app.db import QUERIES
from jobs.turn import NOBODY
from tests.bench import limits, pgbench
from tests.bench.arena import Arena, until
from tests.bench.backlog import HANDLER, MERCHANTS, prepare, prepare_submitting
from tests.bench.counted import counting
from tests.bench.cpu import Cpu, named, used
from tests.bench.measure import Series, percentiles, ratio, spending
from tests.bench.paced import pace
from tests.bench.script import acting, literal, statement
from tests.fixtures.database import Clone, Connection

WORKERS = 2
# As many jobs at once as stock's own threads can run (cores + 4): more only wait, measured.
STOCK_CONCURRENCY = 6
# The clock begins when this share is done: imports, connections and prepared statements are behind then.
WARM_UP = 0.1
# A variant that has not drained by then is measured over what it did; ours finishes its backlog for the check.
LONGEST_SECONDS = 12.0
PATIENCE_SECONDS = 300.0
# Rates are told by the marks, so nothing hangs on when it is seen that all is done; each look reads past what was.
LOOK_EVERY = 0.25
# Latencies are taken at a rate that every variant can hold, for so many deliveries: seconds, as a drain takes.
PACE = 100.0
PACED, PACED_SHARE = 600, 10
ANY_PENDING = """
    (select 1 from deliveries where status = 'pending' and job_id is not null order by lane, merchant_id limit 1)
    union all
    (select 1 from deliveries where status = 'pending' and job_id is null order by merchant_id, due_at limit 1)
"""
# The transaction that marked a delivery is the last that wrote it; whoever marks one at a time has groups of one.
RATE = """
    with groups as (
      select count(*) as n, max(done_at) as ended
      from deliveries where handler = %s and status = 'done' and done_at >= %s and event_id >= %s
      group by xmin::text
    ),
    placed as (
      select n, ended, sum(n) over (order by ended) as place, sum(n) over () as everything from groups
    ),
    warm as (select min(ended) as ended from placed where place >= everything * %s)
    select sum(placed.n)::float8 as n, extract(epoch from max(placed.ended) - min(warm.ended))::float8 as seconds
    from placed, warm where placed.ended > warm.ended
"""
# Before every event there can be.
NO_EVENT = "00000000-0000-0000-0000-000000000000"
# At this rate the start of a handler is promised. After so many seconds at a rate every connection has its plans.
START_PACE = 200.0
START_WARM_UP = 2.0
# Half a second apart each event is a single one on an idle system; so many of them, which is as long as the others.
IDLE_PACE, IDLE_EVENTS = 2.0, 10

OURS, STOCK, SQL = "ours", "stock", "pgbench"
OUR_WORKER = ("-c", "from cli.main import main; main()", "worker")
STOCK_WORKER = (
    "-m", "procrastinate", "--app=jobs.app.app", "worker", "--queues=local", f"--concurrency={STOCK_CONCURRENCY}",
    "--delete-jobs=always",
)  # fmt: skip
# What one process registers as: ours has a worker of Procrastinate's for each lane.
REGISTERED = {OURS: 2, STOCK: 1}
PACES = {OURS: (START_PACE, IDLE_PACE, PACE), STOCK: (PACE,)}
WORKER_OF = {OURS: (OUR_WORKER, "on"), STOCK: (STOCK_WORKER, "off")}


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Drain the same backlog by each variant in turn, `repeats` times; the ratios are within one turn."""
    series = {
        OURS: Series(f"ours: {WORKERS} x postbox worker, carrying", "deliveries/s"),
        STOCK: Series(f"stock: {WORKERS} x procrastinate worker, one transaction per delivery", "deliveries/s"),
        SQL: Series("pgbench: the SQL of one delivery per transaction, 4 clients", "deliveries/s"),
    }
    offered = {
        name: {
            rate: Series(f"{name} at {rate:g}/s: commit to the handler's write", "deliveries/s offered")
            for rate in rates
        }
        for name, rates in PACES.items()
    }
    drains = {OURS: drain_by_ours, STOCK: _drain_by_stock, SQL: _drain_by_pgbench}
    progress(f"preparing {payments} payments, each with a local delivery")
    with arena.database() as prepared, arena.database() as idle:
        prepare(prepared, payments)
        paced = min(max(1, payments // PACED_SHARE), PACED)
        counts = {START_PACE: paced, PACE: paced, IDLE_PACE: max(2, paced * IDLE_EVENTS // PACED)}
        prepare_submitting(idle, sum(count + _warm_up(count, rate) for rate, count in counts.items()))
        prepared.close()
        idle.close()
        for repeat in range(1, repeats + 1):
            for name, drain in drains.items():
                with arena.database(prepared.name) as database:
                    cost, latencies = drain(arena, database)
                    conn = database.connect(admin=True)
                    rate, done = rate_of(conn), payments - _pending(conn)
                    series[name].add(rate, latencies)
                    series[name].spent(cost, done)
                    if done < payments:
                        drain_by_ours(arena, database)
                    arena.check(database)
                progress(f"repeat {repeat} of {repeats}: {name} {rate:,.0f} deliveries/s, check clean")
            for name, paces in offered.items():
                _pace(arena, idle, name, {rate: (counts[rate], one) for rate, one in paces.items()})
                progress(
                    f"repeat {repeat} of {repeats}: {name} at {', '.join(f'{rate:g}' for rate in paces)}/s, check clean"
                )
    starts, single = offered[OURS][START_PACE], offered[OURS][IDLE_PACE]
    every = [*series.values(), *(one for paces in offered.values() for one in paces.values())]
    for one in every:
        one.count(payments=1, deliveries=1)
    return {
        "payments": payments,
        "variants": [one.summary() for one in every],
        "ratios": {
            "worker_mb": max(series[OURS].samples["peak_mb"]),
            "start_p95_ms": percentiles(starts.latencies)["p95_ms"],
            "single_start_p95_ms": percentiles(single.latencies)["p95_ms"],
            "deliver_vs_stock_worker": ratio(series[OURS], series[STOCK]),
            "deliver_vs_pgbench": ratio(series[OURS], series[SQL]),
            "stock_vs_pgbench": ratio(series[STOCK], series[SQL]),
            "deliver_vs_stock_by_cpu": ratio(cpu_of(series[STOCK]), cpu_of(series[OURS])),
            "deliver_vs_pgbench_by_cpu": ratio(cpu_of(series[SQL]), cpu_of(series[OURS])),
        },
        "limits": {
            "start_p95_ms": f"{limits.by_load(starts, START_PACE, 'event')}"
            f" {limits.by_waits(offered[OURS])} At {IDLE_PACE:g}/s each wakes what sleeps.",
            "worker_mb": limits.by_imports(limits.WORKER, max(series[OURS].samples["peak_mb"])),
        },
        "violations": 0,
        "note": f"handler {HANDLER}: one UPDATE of the payment, audited; {MERCHANTS} merchants; the first"
        f" {WARM_UP:.0%} are warm-up, to the end of a group; at a pace the first {START_WARM_UP:g} s are, and at"
        f" {IDLE_PACE:g}/s every event finds an idle system; the latencies of pgbench are of one transaction; CPU ms"
        " are per delivery, all processes and the whole server together; this day's night over all books was done"
        " before",
    }


def rate_of(
    conn: Connection, handler: str = HANDLER, *, since: object = "-infinity", events_from: object = NO_EVENT
) -> float:
    """Deliveries per second from the end of the warm-up to the last one done, by the marks themselves.

    From the end of a group to the end of another: what one transaction marked counts with all the time that it took, or
    not at all. `since`: only marks from here on; `events_from`: of events from this id on, which are found sooner among
    many.
    """
    row = conn.execute(RATE, [handler, since, events_from, WARM_UP]).fetchone()
    assert row is not None and row["seconds"], "too few deliveries were done to tell a rate"
    return float(row["n"] / row["seconds"])


def _pending(conn: Connection) -> int:
    row = conn.execute("select count(*) as n from deliveries where status = 'pending'").fetchone()
    assert row is not None
    return int(row["n"])


def cpu_of(series: Series) -> Series:
    """CPU milliseconds of one delivery, workers and server: its ratio holds when others use the cores."""
    parts = zip(series.samples["worker_cpu_ms"], series.samples["server_cpu_ms"], strict=True)
    return Series(series.name, "CPU ms per delivery", rates=[sum(part) for part in parts])


def drain_by_ours(arena: Arena, database: Clone) -> tuple[Cpu, list[float]]:
    return _drain_by_workers(arena, database, OURS, longest=PATIENCE_SECONDS), []


def _drain_by_stock(arena: Arena, database: Clone) -> tuple[Cpu, list[float]]:
    return _drain_by_workers(arena, database, STOCK, longest=LONGEST_SECONDS), []


def _drain_by_workers(arena: Arena, database: Clone, name: str, *, longest: float) -> Cpu:
    """Start the workers, let them all begin at once, wait until nothing is left; what it cost from there on."""
    conn = database.connect(admin=True)
    first = _first_job(conn)
    with ExitStack() as running:
        with _held_back(database):
            processes = running.enter_context(working(arena, database, name))
            before = used(arena.cluster, processes)
        deadline = time.monotonic() + longest
        while (_is_queued(conn, first) or is_pending(conn)) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)
        cost = used(arena.cluster, processes).since(before)
    assert longest < PATIENCE_SECONDS or not is_pending(conn), f"{name} did not drain:\n{arena.log(name)}"
    return cost


@contextmanager
def working(arena: Arena, database: Clone, name: str) -> Iterator[dict[str, int]]:
    """The worker processes of a variant, registered; their ids by name."""
    conn = database.connect(admin=True)
    argv, carrying = WORKER_OF[name]
    env = arena.environment(database, POSTBOX_CARRYING=carrying)
    known = _workers(conn)
    with ExitStack() as running:
        processes = [running.enter_context(arena.running(name, *argv, env=env)) for _ in range(WORKERS)]
        ready = known + WORKERS * REGISTERED[name]
        until(lambda: _workers(conn) >= ready, f"{name} to register:\n{arena.log(name)}", seconds=60)
        yield named("worker", (process.pid for process in processes))


def _pace(arena: Arena, idle: Clone, name: str, paces: Mapping[float, tuple[int, Series]]) -> None:
    """So many events at each rate into one database, to the workers of a variant; what each waited and cost."""
    with arena.database(idle.name) as database:
        with working(arena, database, name) as processes:
            for rate, (count, series) in paces.items():
                warm_up = _warm_up(count, rate)
                with (
                    counting(arena.cluster, series, warm_up + count),
                    spending(arena.cluster, processes, warm_up + count, series),
                ):
                    found = pace(database, count=count, rate=rate, wake_every=Timing().wake_every, warm_up=warm_up)
                series.paced(rate, found.sent_at, found.waited)
        arena.check(database)


def _warm_up(count: int, rate: float) -> int:
    """How many events come before the ones that count; a short run is warmed up less."""
    return min(count, round(rate * START_WARM_UP))


@contextmanager
def _held_back(database: Clone) -> Iterator[None]:
    """Nobody fetches a job until the block ends: workers get ready first, and are woken then.

    The rows are locked and not their table: who registers touches the table, and has few connections to wait with.
    """
    conn = database.connect(admin=True, autocommit=False)
    conn.execute("select count(*) from (select from procrastinate_jobs for update) held")
    yield
    conn.commit()
    conn.execute(QUERIES["transactions.wake_workers"].encode())
    conn.commit()


def _workers(conn: Connection) -> int:
    row = conn.execute("select count(*) as n from procrastinate_workers").fetchone()
    assert row is not None
    return int(row["n"])


def _first_job(conn: Connection) -> int:
    """The number of the first that waits, 0 without one."""
    row = conn.execute("select coalesce(min(id), 0) as first from procrastinate_jobs where status = 'todo'").fetchone()
    assert row is not None
    return int(row["first"])


def _is_queued(conn: Connection, first: int) -> bool:
    """Whether any of the jobs from this one on is left: asked often, it reads past nothing that was done before."""
    query = "select from procrastinate_jobs where id >= %s and queue_name = 'local' order by id limit 1"
    return conn.execute(query, [first]).fetchone() is not None


def is_pending(conn: Connection) -> bool:
    """Whether anything is left to deliver: asked of the two indexes of what is, however many were delivered."""
    return conn.execute(ANY_PENDING).fetchone() is not None


def _drain_by_pgbench(arena: Arena, database: Clone) -> tuple[Cpu, list[float]]:
    pending = _pending(database.connect(admin=True))
    before = used(arena.cluster, {})
    _, latencies = pgbench.run(
        arena, database, script_of_one_delivery(), clients=4, transactions=pending, name="deliver"
    )
    return used(arena.cluster, {}).since(before), latencies


def script_of_one_delivery() -> str:
    """What a worker sends for one delivery without carrying: fetch, one transaction, finish."""
    local = {
        "role": "'postbox_worker'", "statement_timeout": "'2000ms'", "lock_timeout": "'2000ms'",
        "idle_timeout": "'10000ms'", "actor_type": "'worker'", "actor_id": "'local'",
    }  # fmt: skip
    handler = local | {"actor_id": literal(HANDLER), "causation_id": ":event_id"}
    one = {
        "merchant_ids": "array[:merchant_id]", "event_ids": "array[:event_id]",
        "handlers": f"array[{literal(HANDLER)}]", "job_ids": "array[:job_id::bigint]", "own": "null",
        "worker_id": "null",
    }  # fmt: skip
    alone = {
        "whose": ":merchant_id", "event_id": ":event_id", "handler": literal(HANDLER), "job_id": ":job_id",
        "after": literal(NOBODY), "oldest": "0", "limit": "0", "handlers": "'{}'",
    }  # fmt: skip
    payment = {
        "merchant_id": ":merchant_id",
        "payment_id": ":payment_id",
        "card": "600.0::float8",
        "bank": "432000.0::float8",
    }
    return "\n".join(
        [
            "set role postbox_worker;",
            "select coalesce(id, 0) as job_id, args ->> 'merchant_id' as merchant_id, args ->> 'event_id' as event_id"
            " from procrastinate_fetch_job_v2(array['local'], null) \\gset",
            "reset role;",
            # an empty queue answers with a row of nulls
            "\\if :job_id > 0",
            acting("transactions.begin_as", local) + ";",
            statement("deliveries.start_group", **alone) + " \\gset",
            acting("transactions.act_as", handler) + ";",
            statement("payments.set_observation", **payment) + ";",
            statement("deliveries.finish_group", **one) + ";",
            "commit;",
            "set role postbox_worker;",
            statement("deliveries.finish_job", job_id=":job_id", worker_id="null") + ";",
            "reset role;",
            "\\endif",
        ]
    )
