"""What a session has prepared, and when it forgets it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from app import errors
from app.db import Database, Tx
from app.db.pool import Timeouts
from app.model.actor import Actor, ActorType, Role
from tests.fixtures.database import Clone

WORKER = Actor(ActorType.WORKER, "test", Role.WORKER)
QUERIES = ("payments.find_by_id", "payments.observed_version")
NAMES = "select count(*) as n from pg_prepared_statements where statement like '%from payments%'"


@pytest.fixture
def one(database: Clone) -> Database:
    """A pool of one session."""
    return database.open(size=1)


def ask(tx: Tx) -> None:
    ids = {"merchant_id": uuid4(), "payment_id": uuid4()}
    tx.one(QUERIES[0], **ids)
    tx.each(QUERIES, **ids)


def prepared(db: Database) -> int:
    with db.connection() as connection:
        found: dict[str, Any] | None = connection.execute(NAMES, prepare=False).fetchone()
    assert found is not None
    return int(found["n"])


def test_a_refusal_forgets_nothing_not_even_what_was_prepared_in_its_transaction(one: Database) -> None:
    def refuse(tx: Tx) -> None:
        ask(tx)
        raise errors.NotFound

    for _ in range(2):
        with pytest.raises(errors.NotFound):
            one.transact(WORKER, refuse)
        assert prepared(one) == len(QUERIES)
    one.transact(WORKER, ask)
    assert prepared(one) == len(QUERIES)


def test_a_refusal_between_the_statements_of_a_pipeline_forgets_nothing(one: Database) -> None:
    def refuse(tx: Tx) -> None:
        with tx.connection.pipeline():
            ask(tx)
            raise errors.NotFound

    with pytest.raises(errors.NotFound):
        one.transact(WORKER, refuse)
    one.transact(WORKER, ask)
    assert prepared(one) == len(QUERIES)


def test_an_error_of_the_database_forgets_all(one: Database) -> None:
    def fail(tx: Tx) -> None:
        ask(tx)
        tx.connection.execute("select 1/0")

    with pytest.raises(errors.ConstraintViolated):
        one.transact(WORKER, fail)
    assert prepared(one) == 0
    one.transact(WORKER, ask)


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
    whole: dict[str, object] = {"key_id": "0" * 16, "secret_hmac": b"", "class_": "write", "address": None}
    whole |= dict.fromkeys(("key_rate", "key_burst", "merchant_rate", "merchant_burst"), 1)
    door = Actor(ActorType.API, "test", Role.API)
    one.statement(door, "rate_limits.take", **whole)
    with pytest.raises(errors.PostboxError):
        one.statement(door, "rate_limits.take", **{**whole, "address": "nowhere"})
    assert pieces(one) == []
    assert one.statement(door, "rate_limits.take", **whole) == []


def test_what_cannot_be_sent_is_refused_before_anything_is(one: Database) -> None:
    with pytest.raises(psycopg.DataError), one.begin(Actor(ActorType.WORKER, "\0", Role.WORKER)):
        pass
    one.transact(WORKER, ask)


def test_a_refusal_ends_its_transaction(one: Database) -> None:
    def refuse(tx: Tx) -> None:
        ask(tx)
        raise errors.NotFound

    with pytest.raises(errors.NotFound):
        one.transact(WORKER, refuse)
    with one.connection() as connection:
        assert connection.info.transaction_status == TransactionStatus.IDLE
        left = connection.execute("select current_user = session_user as is_login").fetchone()
    assert left == {"is_login": True}
