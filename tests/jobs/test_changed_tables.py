"""A column is added while workers run: who has prepared for the table as it was prepares anew, and nobody fails."""

from __future__ import annotations

from typing import Any

import pytest

from app import errors
from app.db import Tx
from app.db.pool import RERUNS
from app.model.actor import Actor, ActorType, Role
from jobs.handlers import HANDLERS, LocalHandler
from jobs.runtime import LOCAL_GROUPS
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.warm import release, warm
from tests.fixtures.worker import Hand
from tests.jobs.books import HANDLER, Books, books, outcomes, payments

__all__ = ["books"]

WORKER = Actor(ActorType.WORKER, "test", Role.WORKER)
# More than a transaction is rerun.
SESSIONS = 2 * (RERUNS + 1)
# PostgreSQL's answer to what it cannot do at all, which has the same code.
NOT_SUPPORTED = "do $$ begin raise exception using errcode = '0A000'; end $$"


def ids_of(payment: dict[str, Any]) -> dict[str, Any]:
    return {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}


def test_a_rerun_meets_no_other_session_that_is_behind(database: Clone) -> None:
    db, admin = database.open(size=SESSIONS), database.connect(admin=True)
    ids = ids_of(factories.payment(admin))
    warm(db, SESSIONS, WORKER, "payments.lock", **ids)
    release(admin)
    tries: list[Tx] = []
    for _ in range(SESSIONS):
        found = db.transact(WORKER, lambda tx: tries.append(tx) or tx.one("payments.lock", **ids))
        assert found is not None and "next_release" in found
    assert len(tries) == SESSIONS + 1


def test_what_the_database_cannot_do_at_all_is_tried_a_few_times(database: Clone) -> None:
    tries: list[Tx] = []
    with pytest.raises(errors.ConstraintViolated):
        database.open().transact(WORKER, lambda tx: tries.append(tx) or tx.connection.execute(NOT_SUPPORTED))
    assert len(tries) == RERUNS + 1


def test_a_payment_is_submitted_without_a_failure(hand: Hand) -> None:
    other = factories.payment(hand.connection)
    hand.settle(other["id"])
    warm(hand.runtime.database, SESSIONS, WORKER, "payments.lock", **ids_of(other))
    payment = factories.payment(hand.connection)
    # between what is sent and what is recorded
    hand.after_send("confirm", lambda: release(hand.connection))
    hand.settle(payment["id"])
    assert {result for _, result in hand.results if isinstance(result, str)} <= {"done", "deferred"}
    assert hand.connection.execute("select from delivery_failures").rowcount == 0


def test_a_group_is_run_again_as_it_was(hand: Hand, books: Books) -> None:
    [first] = payments(hand, 1)
    warm(hand.runtime.groups, LOCAL_GROUPS, WORKER, "payments.lock", merchant_id=None, payment_id=first)
    release(hand.connection)
    books.conduct[first] = lambda tx, delivery: tx.one("payments.lock", merchant_id=None, payment_id=first) and None
    assert hand.run_one("local")
    assert outcomes(hand) == {"done": 1}


def test_a_handler_that_asks_what_the_database_cannot_do_has_failed(
    hand: Hand, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asks(tx: Tx, *_: object) -> None:
        tx.connection.execute(NOT_SUPPORTED)

    monkeypatch.setitem(HANDLERS, HANDLER, LocalHandler(HANDLER, asks))
    payments(hand, 1)
    assert hand.run_one("local")
    assert outcomes(hand) == {"failed": 1}
