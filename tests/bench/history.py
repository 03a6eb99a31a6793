"""Fills a database with payments that have a past, by the triggers that made every other: no row of it is made up."""

from __future__ import annotations

from tests.bench.backlog import prepare
from tests.fixtures.database import Clone

# One statement makes so many: enough to be fast, few enough that its triggers' queue stays in memory.
BATCH = 20_000
FINISH = "update deliveries set status = 'done', done_at = clock_timestamp(), job_id = null where status = 'pending'"


def fill(database: Clone, payments: int) -> None:
    """Payments that were created, submitted and had their one local delivery done, each with a reference of its own."""
    for first in range(0, payments, BATCH):
        prepare(database, min(BATCH, payments - first), reference=f"old {first} ", clean=False)
        conn = database.connect(admin=True)
        conn.execute(FINISH)
        conn.execute("delete from procrastinate_jobs")
        conn.close()
    conn = database.connect(admin=True)
    conn.execute("vacuum (freeze, analyze)")
    conn.close()
