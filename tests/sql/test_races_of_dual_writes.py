"""R3, the dual write, on two connections; the product's own charge is crashed in tests/jobs/test_dual_write.py."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.db import Tx
from app.services import webhooks
from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.database import Clone
from tests.fixtures.told import about, told
from tests.sql.race import MINE, Meet, admin, now, race

__all__ = ["admin"]


def charge_naively(p: Row, charges: list[str]) -> Any:
    """Insert, charge under a fresh key inside the transaction, and be gone before COMMIT."""

    def story(conn: Connection, meet: Meet) -> None:
        factories.payment(conn, **p)
        charges.append(str(uuid.uuid4()))
        meet()
        conn.close()

    return story


def drop_naively(p: Row) -> Any:
    """A webhook looks for its payment, and is done when there is none."""

    def story(conn: Connection, meet: Meet) -> str:
        found = conn.execute("select from payments" + MINE, p).rowcount
        meet()
        return "applied" if found else "dropped"

    return story


def test_r3_a_charge_that_is_lost_and_a_webhook_that_is_dropped_charge_twice(
    database: Clone, admin: Connection
) -> None:
    p = {"merchant_id": factories.merchant(admin)["id"], "id": uuid.uuid4()}
    charges: list[str] = []
    for _ in ("the request", "the client's retry"):
        assert race(database, charge_naively(p, charges), drop_naively(p)) == [None, "dropped"]
    assert len(set(charges)) == 2
    assert admin.execute("select from payments" + MINE, p).rowcount == 0


def charge_what_was_committed(op: Row, charges: list[str]) -> Any:
    """The same crash after the charge, which the operation's own key is for."""

    def story(conn: Connection, meet: Meet) -> None:
        charges.append(f"{op['id']}:confirm:1")
        meet()
        conn.close()

    return story


def keep(p: Row, event_id: str = "evt_1") -> Any:
    """What the product does with a webhook, whether its payment is there or not."""

    def story(conn: Connection, meet: Meet) -> str:
        factories.act(conn, "api")
        event = told(event_id=event_id, object_id="pi_1", payment_ref="pi_1", **about(p))
        stored = webhooks.store(Tx(conn), event, body_sha256="0" * 64)
        meet()
        return "kept" if stored else "there already"

    return story


def test_r3_what_was_committed_before_the_call_is_charged_once_and_its_webhook_kept(
    database: Clone, admin: Connection
) -> None:
    p = factories.payment(admin, "submitting")
    op = admin.execute("select id from operations where payment_id = %(id)s", p).fetchone()
    assert op is not None, "it is there before anybody is called"
    charges: list[str] = []
    for answer in ("kept", "there already"):
        assert race(database, charge_what_was_committed(op, charges), keep(p)) == [None, answer]
    assert len(set(charges)) == 1
    assert waiting_webhooks(admin) == 1


def commit_late(p: Row) -> Any:
    def story(conn: Connection, meet: Meet) -> None:
        factories.payment(conn, "submitting", **p)
        meet()

    return story


@pytest.mark.parametrize("receive, answer, waiting", [(drop_naively, "dropped", 0), (keep, "kept", 1)])
def test_r3_a_webhook_ahead_of_its_payment_waits_and_is_not_dropped(
    database: Clone, admin: Connection, receive: Any, answer: str, waiting: int
) -> None:
    p = {"merchant_id": factories.merchant(admin)["id"], "id": uuid.uuid4()}
    assert race(database, commit_late(p), receive(p)) == [None, answer]
    assert now(admin, p)["state"] == "submitting"
    assert waiting_webhooks(admin) == waiting


def waiting_webhooks(conn: Connection) -> int:
    return conn.execute("select from deliveries where handler = 'apply_webhook' and status = 'pending'").rowcount
