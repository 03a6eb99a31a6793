"""From the commit of an event to the effect of its handler, at a steady rate: what one waits when nothing queues."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from typing import Any

from app.db import Database, Tx
from app.db.wake import Waker
from app.model.actor import Actor, ActorType, Role
from tests.bench.arena import until
from tests.fixtures.database import Clone, Connection

# Few writers: together they hold the rate while one waits for its commit.
WRITERS = 4
PATIENCE_SECONDS = 120.0
ACTOR = Actor(ActorType.WORKER, "submit_payment", Role.WORKER)


@dataclass(frozen=True)
class Paced:
    """When each event was told (seconds since the epoch), and how many seconds later its handler wrote."""

    sent_at: list[float]
    waited: list[float]


def pace(database: Clone, *, count: int, rate: float, wake_every: float, warm_up: int = 0) -> Paced:
    """Commit events at `rate` per second, as a worker that submitted them would; what each of `count` waited.

    `warm_up`: so many are committed before those, at the same rate, and do not count. The clock of one starts when its
    writer asks for the commit, so that the figures are a little too large and never too small; it ends at the handler's
    own write. The database holds as many payments in `submitting`.
    """
    conn = database.connect(admin=True)
    rows = conn.execute(
        "select merchant_id, id from payments where state = 'submitting' order by id limit %s", [warm_up + count]
    ).fetchall()
    assert len(rows) == warm_up + count, "every event needs a payment that can still be submitted"
    told: dict[str, float] = {}
    errors: list[Exception] = []
    numbers, began = itertools.count(), time.perf_counter()

    def write(tx: Tx, row: dict[str, Any]) -> None:
        ids = {"merchant_id": row["merchant_id"], "payment_id": row["id"]}
        tx.run("payments.move", **ids, state="submitted", failure_code=None, failure_message=None)
        told[str(row["id"])] = time.time()

    def run(pool: Database, waker: Waker) -> None:
        try:
            while (number := next(numbers)) < len(rows):
                time.sleep(max(0.0, began + number / rate - time.perf_counter()))
                pool.transact(ACTOR, lambda tx, number=number: write(tx, rows[number]))
                waker.wake()
        except Exception as error:
            errors.append(error)

    with Database(database.url, size=WRITERS + 1, application="paced") as pool:
        waker = Waker(pool, every=wake_every)
        threads = [threading.Thread(target=run, args=(pool, waker)) for _ in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        until(lambda: not _is_pending(conn, told), "the last delivery", seconds=PATIENCE_SECONDS)
        waker.close()
    counted = {name: told[name] for name in (str(row["id"]) for row in rows[warm_up:])}
    return Paced(list(counted.values()), _waited(conn, counted))


def _is_pending(conn: Connection, told: dict[str, float]) -> bool:
    query = "select from deliveries where status = 'pending' and payment_id = any(%s::uuid[]) limit 1"
    return conn.execute(query, [list(told)]).fetchone() is not None


def _waited(conn: Connection, told: dict[str, float]) -> list[float]:
    """The handler's write is the last one of its payment: `updated_at` is when it happened."""
    rows = conn.execute(
        "select id::text, extract(epoch from updated_at)::float8 as at from payments where id = any(%s::uuid[])",
        [list(told)],
    ).fetchall()
    return [row["at"] - told[row["id"]] for row in rows]
