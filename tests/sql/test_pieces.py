"""What is sent to the database in one piece: prepared once, and as clear in how it ends as a statement by itself."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import psycopg
import pytest

from app import errors
from app.db import Database
from app.db.pool import Timeouts
from app.model.actor import Actor, ActorType, Role
from tests.fixtures.database import Clone
from tests.gateway.waiting import until
from tests.sql.test_prepared import WORKER, ask, one

__all__ = ["one"]

WHOLE: dict[str, object] = {
    "key_id": "0" * 16, "secret_hmac": b"", "class_": "write", "address": None,
    "key_rate": 1, "key_burst": 1, "merchant_rate": 1, "merchant_burst": 1,
}  # fmt: skip


def take(db: Database, **others: object) -> list[dict[str, Any]]:
    """A whole transaction in one piece."""
    return db.statement(Actor(ActorType.API, "test", Role.API), "rate_limits.take", **{**WHOLE, **others})


def backend(db: Database) -> int:
    with db.connection() as connection:
        return connection.info.backend_pid


def pieces(db: Database) -> list[str]:
    with db.connection() as connection:
        query = "select name from pg_prepared_statements where name like 'piece_%' order by prepare_time, name"
        return [row["name"] for row in connection.execute(query, prepare=False)]


def test_what_goes_in_one_piece_is_prepared_once(one: Database) -> None:
    one.transact(WORKER, ask)
    first = pieces(one)
    one.transact(WORKER, ask, timeouts=Timeouts(lock=1))
    assert first and pieces(one) == first


def test_a_piece_that_fails_leaves_the_session_as_good_as_new(one: Database) -> None:
    take(one)
    with pytest.raises(errors.PostboxError):
        take(one, address="nowhere")
    assert pieces(one) == []
    assert take(one) == []


def test_what_cannot_be_sent_is_refused_before_anything_is(one: Database) -> None:
    session = backend(one)
    with pytest.raises(psycopg.DataError), one.begin(Actor(ActorType.WORKER, "\0", Role.WORKER)):
        pass
    one.transact(WORKER, ask)
    assert backend(one) == session


# By SQLSTATE: the clock of who does nothing in a transaction, and an operator.
IDLE, ENDED = "25P03", "57P01"


@pytest.mark.parametrize("is_last", [False, True], ids=["a commit", "a piece with the commit"])
@pytest.mark.parametrize("why", [IDLE, ENDED])
def test_why_a_session_was_ended_is_told(one: Database, database: Clone, why: str, is_last: bool) -> None:
    admin = database.connect(admin=True)

    def be_ended() -> None:
        with one.begin(WORKER, timeouts=Timeouts(idle=100) if why == IDLE else None) as tx:
            pid = tx.connection.info.backend_pid
            if is_last:
                tx.run_last("transactions.because", reason="it is the last")
            if why == ENDED:
                admin.execute("select pg_terminate_backend(%s)", [pid])
            gone = "select from pg_stat_activity where pid = %s"
            until(lambda: not admin.execute(gone, [pid]).rowcount, "the session's end")

    with pytest.raises(psycopg.Error) as told:
        be_ended()
    assert told.value.sqlstate == why
    one.transact(WORKER, ask)


def test_a_piece_that_breaks_off_in_the_middle_costs_its_session_and_nothing_else(
    one: Database, database: Clone
) -> None:
    take(one)
    session, admin = backend(one), database.connect(admin=True, autocommit=False)
    watch = database.connect(admin=True)
    admin.execute("lock table rate_limits in access exclusive mode")
    admin.execute("lock table api_keys in access exclusive mode")
    waits = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"

    def break_off() -> None:
        until(lambda: watch.execute(waits, [session]).rowcount, "the piece to wait")
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        threading.Thread(target=break_off).start()
        with pytest.raises(KeyboardInterrupt):
            take(one)
    finally:
        signal.signal(signal.SIGUSR1, before)
    admin.rollback()
    assert take(one) == []
    assert backend(one) != session
