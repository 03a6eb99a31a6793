"""What the benchmarks of large databases do in a turn: a database to do it in, and accepting that leaves no backlog."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests import factories
from tests.bench import pgbench
from tests.bench.accept import CLIENTS, script_of_one_post
from tests.bench.arena import Arena, check
from tests.bench.lives import FINISH
from tests.fixtures.database import KEY_PEPPER, Clone

# Up to here every turn has a fresh clone; a larger database grows by what its turns accept and deliver.
CLONED_UP_TO = 100_000


@contextmanager
def turn_of(arena: Arena, database: Clone, size: int) -> Iterator[Clone]:
    """What one turn may change; a clone is checked before it is gone, what stays is checked once, at the end."""
    if size > CLONED_UP_TO:
        yield database
        database.close()
        return
    with arena.database(database.name) as clone:
        yield clone
        check(clone, quiesced=False)


def accept_some(arena: Arena, database: Clone, count: int) -> tuple[float, list[float]]:
    """Payments per second and the seconds of each by pgbench; they are canceled afterwards, and nobody's backlog."""
    conn = database.connect(admin=True)
    key = factories.api_key(conn, factories.merchant(conn)["id"], pepper=KEY_PEPPER)
    script = script_of_one_post(key)
    found = pgbench.run(arena, database, script, clients=CLIENTS, transactions=count, name="turn", role="postbox_api")
    with factories.acting(conn, "operator"):
        conn.execute("update payments set state = 'canceled', cancel_reason = 'abandoned' where state = 'initiated'")
    conn.execute(f"{FINISH} and lane = 'remote'".encode())
    conn.execute("delete from procrastinate_jobs where queue_name = 'remote'")
    return found
