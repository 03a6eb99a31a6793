"""How often a POST waits for the database, by libpq's own trace of what is sent."""

import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
from psycopg.pq import Trace

from app.db import inspection, pool
from app.gateway.context import EXTENSION
from tests.gateway.conftest import CARD

# What ends a piece, whose answer is then waited for.
WAITED_FOR = re.compile(r"^F\t\d+\t(?:Sync|Query\t)", re.MULTILINE)


@pytest.fixture
def settings(settings, monkeypatch):
    """One connection, whose trace is then all; it is not asked once more whether it is there and safe."""
    monkeypatch.setattr(pool, "FRESH_SECONDS", 3_600.0)
    monkeypatch.setattr(inspection, "INSPECT_SECONDS", 3_600.0)
    return replace(settings, api_pool_size=1)


@pytest.fixture
def counting(app, tmp_path):
    """Counts what is waited for inside its block."""
    edge = app.extensions[EXTENSION]
    # these ask at times of their own, and once they are closed nothing any more
    edge.waker.close()
    edge.door.close()

    @contextmanager
    def count():
        path, waits = tmp_path / "trace", []
        with path.open("wb") as trace:
            with edge.database.connection() as only:
                only.pgconn.trace(trace.fileno())
                only.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
            yield waits
            only.pgconn.untrace()
        waits.extend(WAITED_FOR.findall(path.read_text()))

    return count


def test_a_payment_takes_four_round_trips(api, counting):
    """The token; the beginning, who asks and its key; the payment; the kept answer and the commit."""
    api.create()  # the session's first, whose statements are parsed
    with counting() as waits:
        api.create()
    assert len(waits) == 4


@pytest.mark.parametrize(
    ("state", "verb", "status", "trips"),
    [
        # its lock, and the operation; a payment that nobody was asked about is canceled where it stands
        ("authorized", "capture", 202, 5),
        ("initiated", "cancel", 200, 5),
        # its lock, the money set aside, the operation's id, the refund and its operation
        ("confirmed", "refunds", 201, 8),
    ],
)
def test_what_is_done_to_a_payment_takes_so_many(api, counting, payment_in, state, verb, status, trips):
    paths = [f"/v1/payments/{payment_in(state)[1]}/{verb}" for _ in range(2)]
    assert api.post(paths[0], {}).status_code == status
    with counting() as waits:
        assert api.post(paths[1], {}).status_code == status
    assert len(waits) == trips


def test_a_replay_reads_the_answer_and_the_payment_that_it_is_about(api, counting):
    for key in ("first", "second"):
        api.post("/v1/payments", CARD, key=key)
    api.post("/v1/payments", CARD, key="first")
    with counting() as waits:
        assert api.post("/v1/payments", CARD, key="second").headers["Idempotency-Replayed"] == "true"
    assert len(waits) == 5
