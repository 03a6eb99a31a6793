"""A queue with a backlog, what the worker asks of it, and how much of it the database has read."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.db import QUERIES
from jobs.app import CLOCK_QUEUE
from jobs.queue import REMOTE
from jobs.turn import NOBODY
from tests.fixtures.database import Clone, Connection

LOUD, QUIET = UUID(int=2), UUID(int=1)
# Entries of an index that a statement may read for one job of its own.
FEW = 20
FETCH, PICK = "fetch", "pick siblings"
STATEMENTS = {
    FETCH: QUERIES["deliveries.fetch_job"].encode(),
    PICK: b"select * from pick_siblings(%(after)s, %(oldest)s, %(limit)s, %(handlers)s)",
}
PARAMS = {
    FETCH: {"queues": [CLOCK_QUEUE, REMOTE], "others": [], "after": NOBODY, "worker_id": None},
    PICK: {"after": NOBODY, "limit": 100, "handlers": ["watch_outcome"]},
}


def waiting(conn: Connection, queue: str, count: int, merchant_id: UUID) -> int:
    """Jobs as the fan-out makes them, their deliveries left out; the number of the last."""
    row = conn.execute(
        "with made as (insert into procrastinate_jobs (queue_name, task_name, args) select %(queue)s, 'postbox.x',"
        " jsonb_build_object('merchant_id', %(merchant)s::uuid, 'event_id', gen_random_uuid(), 'handler', 'x')"
        " from generate_series(1, %(count)s) returning id) select max(id) as last from made",
        {"queue": queue, "count": count, "merchant": merchant_id},
    ).fetchone()
    assert row is not None
    return int(row["last"])


def to_deliver(conn: Connection, count: int, payment: dict[str, Any]) -> int:
    """Events about a payment, each with a local delivery; the number of the last job."""
    conn.execute(
        "insert into events (merchant_id, topic, payment_id, payload, correlation_id)"
        " select %(merchant_id)s, 'payment.provider_submitted', %(id)s, '{}', 'many'"
        " from generate_series(1, %(count)s)",
        payment | {"count": count},
    )
    row = conn.execute("select max(id) as last from procrastinate_jobs").fetchone()
    assert row is not None
    return int(row["last"])


def old_snapshot(database: Clone) -> None:
    """Somebody sees what there is now, for as long as the database is open."""
    conn = database.connect(admin=True, autocommit=False)
    conn.execute("set transaction isolation level repeatable read")
    conn.execute("select count(*) from procrastinate_jobs")


def entries_read(conn: Connection, *tables: str) -> int:
    """How many entries of all indexes of these tables were read so far, the dead ones too."""
    return counted(
        conn, "select sum(idx_tup_read) as n from pg_stat_user_indexes where relname = any(%s)", list(tables)
    )


def counted(conn: Connection, query: str, *params: Any) -> int:
    """The `n` of this query over what the server has counted, with all that this session did."""
    conn.execute("select pg_stat_force_next_flush()")
    row = conn.execute(query, params).fetchone()
    assert row is not None
    return int(row["n"])
