"""`postbox worker` with one more handler, and with its local lane only: nothing here runs the remote one.

Nor does it compare books, which is no work of a queue and which no other queue here does.
"""

from __future__ import annotations

from app.config import load_settings
from app.db import Tx
from jobs import worker
from jobs.handlers import HANDLERS, LocalHandler
from jobs.queue import LOCAL
from jobs.runtime import LOCAL_GROUPS

NEVER = 86_400.0


def handle(tx: Tx, delivery: dict[str, object], timing: object) -> None:
    tx.connection.execute("select bench_step(array[%(merchant_id)s], array[%(payment_id)s])", delivery)


HANDLERS["bench_step"] = LocalHandler("bench_step", handle, in_database=True)
worker._lanes = lambda settings: {(LOCAL,): LOCAL_GROUPS}
worker.comparing_passes = lambda runtime: [(NEVER, lambda: 0)]

if __name__ == "__main__":
    worker.run(load_settings())
