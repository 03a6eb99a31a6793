"""What a session has prepared, and when it forgets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
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
    with pytest.raises(errors.ConstraintViolated):
        one.transact(WORKER, fail)
    assert prepared(one) == 0
    one.transact(WORKER, ask)


def fail(tx: Tx) -> None:
    ask(tx)
    tx.connection.execute("select 1/0")


def test_after_an_error_a_commit_that_is_refused_is_forgotten_by_server_and_driver(
    one: Database, database: Clone
) -> None:
    admin = database.connect(admin=True)
    admin.execute("create table kept (id int unique deferrable initially deferred)")
    admin.execute("grant insert on kept to postbox_worker")

    def fail_at_the_end(tx: Tx) -> None:
        ask(tx)
        tx.connection.execute("insert into kept values (1), (1)")

    for work in (fail, fail_at_the_end):
        with pytest.raises(errors.ConstraintViolated):
            one.transact(WORKER, work)
        one.transact(WORKER, ask)
    assert prepared(one) == len(QUERIES)


def test_after_an_error_a_changed_table_is_forgotten_by_server_and_driver(database: Clone) -> None:
    two, admin = database.open(size=2), database.connect(admin=True)
    admin.execute("create table kept (id int)")
    admin.execute("grant select on kept to postbox_worker")

    def read(tx: Tx) -> None:
        ask(tx)
        tx.connection.execute("select * from kept")

    def fail_in_both() -> None:
        with two.begin(WORKER) as held:
            with pytest.raises(errors.ConstraintViolated):
                two.transact(WORKER, fail)
            fail(held)

    with pytest.raises(psycopg.errors.DivisionByZero):
        fail_in_both()
    in_both(two, read)
    admin.execute("alter table kept add column more int")
    two.transact(WORKER, read)
    in_both(two, read)


def in_both(db: Database, work: Callable[[Tx], None]) -> None:
    """In both sessions of a pool of two."""
    with db.begin(WORKER) as held:
        db.transact(WORKER, work)
        work(held)


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
