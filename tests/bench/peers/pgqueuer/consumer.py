"""PgQueuer on the same step, as its documentation advises for throughput: asyncpg, uvloop, large batches."""

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
    queue_pool = await asyncpg.create_pool(os.environ["PEER_URL"], min_size=4, max_size=4, server_settings=settings)
    work_pool = await asyncpg.create_pool(
        os.environ["PEER_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings=settings
    )
    queuer = PgQueuer.from_asyncpg_pool(queue_pool)

    @queuer.entrypoint("local")
    async def local(job: Job) -> None:
        ids = json.loads(job.payload)
        async with work_pool.acquire() as connection:
            await connection.execute("select bench_deliver($1::uuid, $2::uuid)", ids["merchant_id"], ids["event_id"])

    print("ready", flush=True)
    await queuer.run(batch_size=BATCH, dequeue_timeout=timedelta(seconds=1))


uvloop.run(main())
