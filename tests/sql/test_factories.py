"""The factories reach every state, leave the facts that belong to it, and take only legal steps."""

from __future__ import annotations

import pytest

from tests import factories
from tests.factories import Connection


@pytest.mark.parametrize("state", factories.WAY)
def test_every_state_is_reached(conn: Connection, state: str) -> None:
    assert factories.payment(conn, state)["state"] == state


@pytest.mark.parametrize("state", ["disputed", "refunded", "charged_back", "returned"])
def test_what_happens_after_settlement_keeps_settled_at(conn: Connection, state: str) -> None:
    assert factories.payment(conn, state, settled=True)["settled_at"] is not None


def test_acting_puts_back_who_acted_before(conn: Connection) -> None:
    factories.act(conn, "worker")
    factories.merchant(conn)
    row = conn.execute("select acting_role() as role, acting_type() as actor").fetchone()
    assert row == {"role": "postbox_worker", "actor": "worker"}


def test_a_payment_made_over_the_login_of_the_runtime_is_the_same(database) -> None:
    with database.connect() as conn:
        assert factories.payment(conn, "settled")["state"] == "settled"


def test_an_api_key_authenticates(conn: Connection) -> None:
    merchant = factories.merchant(conn)
    key = factories.api_key(conn, merchant["id"])
    factories.act(conn, "api")
    row = conn.execute("select merchant_id, secret_hmac, livemode from authenticate(%s)", [key.id]).fetchone()
    assert row == {"merchant_id": merchant["id"], "secret_hmac": key.hmac(factories.PEPPER), "livemode": False}
