"""PgQueuer on the same step, as its "Performance tuning" advises: one connection for the queue, large batches, uvloop.

Its tables were installed with the log of what it did unlogged, which it says is twice as fast, and the queue itself
durable, with its own settings of autovacuum.
"""

import json
import os
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job

CONNECTIONS = 10
BATCH = 100


async def main() -> None:
    settings = {"search_path": "public,postbox,procrastinate"}
    queue = await asyncpg.connect(os.environ["PEER_URL"], server_settings=settings)
    work_pool = await asyncpg.create_pool(
        os.environ["PEER_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings=settings
    )
    queuer = PgQueuer.from_asyncpg_connection(queue)

    @queuer.entrypoint("local")
    async def local(job: Job) -> None:
        ids = json.loads(job.payload)
        async with work_pool.acquire() as connection:
            await connection.execute("select bench_deliver($1::uuid, $2::uuid)", ids["merchant_id"], ids["event_id"])

    print("ready", flush=True)
    await queuer.run(batch_size=BATCH, dequeue_timeout=timedelta(seconds=1))


uvloop.run(main())
