"""`postbox worker` with one more handler, and with its local lane only: nothing here runs the remote one."""

from __future__ import annotations

from app.config import load_settings
from app.db import Tx
from jobs import worker
from jobs.app import LOCAL_GROUPS
from jobs.handlers import HANDLERS, LocalHandler
from jobs.queue import LOCAL


def handle(tx: Tx, delivery: dict[str, object], timing: object) -> None:
    tx.connection.execute("select bench_step(array[%(merchant_id)s], array[%(payment_id)s])", delivery)


HANDLERS["bench_step"] = LocalHandler("bench_step", handle, in_database=True)
worker._lanes = lambda settings: {(LOCAL,): LOCAL_GROUPS}

if __name__ == "__main__":
    worker.run(load_settings())
