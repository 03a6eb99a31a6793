"""What a session has prepared, and when it forgets it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from psycopg.pq import TransactionStatus

from app import errors
from app.db import Database, Tx
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
