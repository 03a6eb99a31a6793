"""Stock Procrastinate on the same step: an async task, a pool, and its documented options for throughput."""

from __future__ import annotations

import os

from procrastinate import App, PsycopgConnector
from psycopg_pool import AsyncConnectionPool

CONNECTIONS = 10
OPTIONS = "-c search_path=procrastinate,postbox -c role=postbox_worker"

# Its pool has four connections unless told: a job at once would wait for another's to be fetched or finished.
queue = PsycopgConnector(
    conninfo=os.environ["DATABASE_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs={"options": OPTIONS}
)
app = App(connector=queue)
pool = AsyncConnectionPool(
    os.environ["DATABASE_URL"],
    min_size=CONNECTIONS,
    max_size=CONNECTIONS,
    open=False,
    kwargs={"autocommit": True, "options": "-c search_path=postbox,procrastinate"},
)


@app.task(name="postbox.local")
async def local(merchant_id: str, event_id: str, handler: str) -> None:
    # opens it once; does nothing when it is open
    await pool.open()
    async with pool.connection() as connection:
        await connection.execute("select bench_deliver(%s::uuid, %s::uuid)", [merchant_id, event_id])
