"""A pause is set and lifted once, for a reason that the audit keeps, and what waited for it is due at once."""

from __future__ import annotations

from typing import Any

import pytest

from app.db import Tx
from app.services import pauses
from tests import factories
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone


def test_resume_makes_due_what_waited_for_the_pause_and_nothing_else(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    for _ in range(2):
        factories.payment(conn)
    assert postbox("pause", "handler", "submit_payment", "--reason", "incident 7").code == 0
    with factories.acting(conn, "worker"):
        conn.execute(
            "update deliveries set job_id = null, due_at = clock_timestamp() + interval '1 hour',"
            " deferred_for = case when event_id = (select min(event_id::text)::uuid from deliveries) then"
            " 'paused' else 'circuit_open' end"
        )
    lifted = postbox("resume", "handler", "submit_payment", "--reason", "over", "--json").json
    assert lifted["released"] == 1
    due = conn.execute("select deferred_for from deliveries where due_at <= clock_timestamp()").fetchall()
    assert due == [{"deferred_for": "paused"}]


@pytest.mark.parametrize("seconds, left", [(60.0, 0), (-1.0, 1)])
def test_resume_makes_so_many_due_at_once_while_there_is_time_and_leaves_the_rest_to_the_clock(
    database: Clone, monkeypatch: Any, seconds: float, left: int
) -> None:
    monkeypatch.setattr(pauses, "RELEASED_AT_ONCE", 2)
    monkeypatch.setattr(pauses, "RELEASING_SECONDS", seconds)
    conn = database.connect(admin=True)
    for _ in range(3):
        factories.payment(conn)
    with factories.acting(conn, "worker"):
        conn.execute(
            "update deliveries set job_id = null, deferred_for = 'paused',"
            " due_at = clock_timestamp() + interval '1 hour'"
        )
    with factories.acting(conn, "operator"):
        pauses.pause(Tx(conn), "handler", "submit_payment", by="ana", reason="test")
        assert pauses.resume(Tx(conn), "handler", "submit_payment", reason="over")["released"] == 3 - left
    assert conn.execute("select from deliveries where due_at > clock_timestamp()").rowcount == left


def test_both_are_audited_with_name_and_reason(postbox: Postbox, database: Clone) -> None:
    postbox("pause", "provider", "stripe", "--reason", "maintenance")
    postbox("resume", "provider", "stripe", "--reason", "back", "--operator", "bob")
    rows = database.connect(admin=True).execute(
        "select action, actor_id, entity_type, entity_id, reason from audit_log"
    )
    subject = {"entity_type": "provider", "entity_id": "stripe"}
    assert rows.fetchall() == [
        {"action": "pause.set", "actor_id": "ann", "reason": "maintenance"} | subject,
        {"action": "pause.lifted", "actor_id": "bob", "reason": "back"} | subject,
    ]


def test_only_what_exists_is_paused_and_only_once(postbox: Postbox, database: Clone) -> None:
    merchant = factories.merchant(database.connect(admin=True))["id"]
    assert postbox("pause", "handler", "no_such", "--reason", "x").err == "Error: there is no handler no_such\n"
    assert postbox("pause", "merchant", merchant, "--reason", "x").code == 0
    assert postbox("pause", "merchant", merchant, "--reason", "x").code == 1
    assert postbox("resume", "handler", "submit_payment", "--reason", "x").code == 1
    assert postbox("pause", "handler", "submit_payment").code == 2
