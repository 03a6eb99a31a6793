"""How long one merchant's next delivery waits while another has a backlog of as many as it is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from app.config import Timing
from tests.bench.arena import Arena, until
from tests.bench.backlog import prepare_submitting
from tests.bench.deliver import OURS, is_pending, working
from tests.bench.measure import Series, percentiles
from tests.bench.paced import pace
from tests.bench.standing import backlog

# The other merchant's deliveries in one turn, and how many come in a second.
NEXT, PER_SECOND = 30, 10.0
DRAIN_SECONDS = 600.0


def measure(arena: Arena, *, payments: int, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Two workers in the middle of the backlog, and now and then a delivery of somebody else."""
    waits = Series(f"another merchant's delivery, beside {payments:,} pending", "deliveries/s offered")
    with backlog(arena, payments, merchants=1, progress=progress) as prepared:
        prepare_submitting(prepared, NEXT, merchants=2, reference="next ")
        prepared.close()
        for repeat in range(1, repeats + 1):
            with arena.database(prepared.name) as database, ExitStack() as running:
                conn = database.connect(admin=True)
                running.enter_context(working(arena, database, OURS))
                found = pace(database, count=NEXT, rate=PER_SECOND, wake_every=Timing().wake_every)
                waits.paced(PER_SECOND, found.sent_at, found.waited)
                assert is_pending(conn), "the backlog was there all the while"
                progress(f"repeat {repeat} of {repeats}: {max(waits.latencies):.2f} s at most")
                until(lambda conn=conn: not is_pending(conn), "the backlog to end", seconds=DRAIN_SECONDS, every=1.0)
                arena.check(database)
    return {
        "payments": payments,
        "variants": [waits.summary()],
        "ratios": {
            "fairness_p95_ms": percentiles(waits.latencies)["p95_ms"],
            "fairness_longest_ms": round(1000 * max(waits.latencies), 1),
        },
        "violations": 0,
        "note": "from the commit of the event to the handler's write; every group begins with the merchant whose turn"
        " it is",
    }
