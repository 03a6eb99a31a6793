"""What a merchant's backlog of as many as it is told costs others: their next deliveries, and the API's answers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.config import Timing
from tests.bench import limits
from tests.bench.arena import Arena, analyze, until
from tests.bench.backlog import prepare_submitting
from tests.bench.counted import counting
from tests.bench.deliver import OURS, is_pending, working
from tests.bench.http import drive
from tests.bench.measure import Series, percentiles, spending
from tests.bench.paced import pace
from tests.bench.standing import backlog
from tests.bench.web import Web, free_port, serving
from tests.fixtures.database import Clone, Connection

# The other merchant's deliveries in one turn, and how many come in a second.
NEXT, PER_SECOND = 30, 10.0
DRAIN_SECONDS = 600.0
# The API's turns: a fraction of what it can do, so that an answer waits for nobody but the drain.
POSTS, POSTS_PER_SECOND, CLIENTS = 250, 50.0, 16
# One second of them. Whoever asks first meets groups as large as they are while nobody asks, which is told by itself.
FIRST = 50
# As many as it takes to be served all the while that somebody's next deliveries come.
MEANWHILE = int(POSTS_PER_SECOND * (NEXT / PER_SECOND + 1))
ALONE, FIRST_BESIDE, BESIDE = "alone", "first", "beside"


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Two workers in the middle of the backlog: now and then a delivery of somebody else; then the API, in turns."""
    told = f"another merchant's delivery, beside {payments:,} pending"
    waits, served = Series(told, "deliveries/s offered"), Series(f"{told}, the API served", "deliveries/s offered")
    answers = {
        ALONE: Series("the API's answer, no worker", "payments/s offered"),
        FIRST_BESIDE: Series(
            f"the API's answer, in the first second beside a drain of {payments:,}", "payments/s offered"
        ),
        BESIDE: Series(f"the API's answer, beside a drain of {payments:,}", "payments/s offered"),
    }
    with backlog(arena, payments, merchants=1, local_only=True, progress=progress) as prepared:
        prepare_submitting(prepared, NEXT, merchants=2, reference="next ")
        prepared.close()
        for repeat in range(1, repeats + 1):
            with arena.database(prepared.name) as database:
                _deliver_next(arena, database, waits)
                arena.check(database)
            progress(f"repeat {repeat} of {repeats}: {max(waits.latencies):.2f} s at most")
        for repeat in range(1, repeats + 1):
            with arena.database(prepared.name) as database, serving(arena, database, free_port()) as web:
                drive(web.port, web.request, count=POSTS, clients=CLIENTS)
                analyze(database)
                _post_some(arena, database, web, answers, served)
                arena.check(database, quiesced=False)
            p99 = {name: percentiles(one.latencies)["p99_ms"] for name, one in answers.items()}
            progress(f"repeat {repeat} of {repeats}: p99 of the API {p99[ALONE]:g} ms, {p99[BESIDE]:g} beside it")
    drained = statistics.median(answers[BESIDE].samples["drained_per_second"])
    return {
        "payments": payments,
        "variants": [one.summary() for one in (waits, served, *answers.values())],
        "ratios": {
            "fairness_p95_ms": percentiles(waits.latencies)["p95_ms"],
            "fairness_longest_ms": round(1000 * max(waits.latencies), 1),
            "fairness_served_longest_ms": round(1000 * max(served.latencies), 1),
            "api_p99_ms": p99[ALONE],
            "api_p99_first_beside_a_drain_ms": p99[FIRST_BESIDE],
            "api_p99_beside_a_drain_ms": p99[BESIDE],
            "api_p99_beside_a_drain": round(p99[BESIDE] / p99[ALONE], 2),
        },
        "limits": {
            "fairness_longest_ms": " ".join(
                limits.by_percentiles(what, one)
                for what, one in (("A delivery beside the backlog", waits), ("With the API served", served))
            ),
            "api_p99_beside_a_drain": limits.by_company(*answers.values()),
        },
        "violations": 0,
        "note": "from the commit of the event to the handler's write, in the local lane; every group begins with the"
        " merchant whose turn it is, as every fetch of the remote lane does, where only the order is tested and no wait"
        f" measured. {POSTS_PER_SECOND:g} POSTs a second, of another merchant, without a worker and"
        f" beside two that drain, {drained:,.0f} deliveries/s meanwhile, and rest while somebody is served; no payment"
        " here is submitted",
    }


def _deliver_next(arena: Arena, database: Clone, waits: Series) -> None:
    conn = database.connect(admin=True)
    with working(arena, database, OURS) as processes:
        with spending(arena.cluster, processes, NEXT, waits):
            _pace(database, waits)
        assert is_pending(conn), "the backlog was there all the while"
        until(lambda: not is_pending(conn), "the backlog to end", seconds=DRAIN_SECONDS, every=1.0)


def _pace(database: Clone, waits: Series) -> None:
    found = pace(database, count=NEXT, rate=PER_SECOND, wake_every=Timing().wake_every)
    waits.paced(PER_SECOND, found.sent_at, found.waited)


def _post_some(arena: Arena, database: Clone, web: Web, answers: dict[str, Series], served: Series) -> None:
    """So many without a worker, and as many beside two that have more to do than they get done."""
    _post(arena, web, web.processes(), POSTS, answers[ALONE])
    conn = database.connect(admin=True)
    with working(arena, database, OURS) as workers, ThreadPoolExecutor(1) as beside:
        everybody = {**web.processes(), **workers}
        _post(arena, web, everybody, FIRST, answers[FIRST_BESIDE])
        done, began = _done(conn), time.monotonic()
        _post(arena, web, everybody, POSTS, answers[BESIDE])
        answers[BESIDE].note("drained_per_second", (_done(conn) - done) / (time.monotonic() - began))
        with spending(arena.cluster, everybody, NEXT, served):
            posting = beside.submit(
                drive, web.port, web.request, count=MEANWHILE, clients=CLIENTS, rate=POSTS_PER_SECOND
            )
            _pace(database, served)
            posting.result()
        assert is_pending(conn), "the drain went on all the while"


def _done(conn: Connection) -> int:
    row = conn.execute("select count(*) as n from deliveries where status = 'done'").fetchone()
    assert row is not None
    return int(row["n"])


def _post(arena: Arena, web: Web, processes: dict[str, int], count: int, series: Series) -> None:
    arena.checkpoint()
    with counting(arena.cluster, series, count), spending(arena.cluster, processes, count, series):
        found = drive(web.port, web.request, count=count, clients=CLIENTS, rate=POSTS_PER_SECOND)
    series.paced(POSTS_PER_SECOND, [one.sent_at for one in found], [one.waited for one in found])
