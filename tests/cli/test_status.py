"""`postbox status` exits with 0 when all is well and with 3 for each thing that needs a person."""

from __future__ import annotations

from datetime import datetime

import pytest

from app.db.queries import QUERIES
from tests import factories
from tests.cli import story
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone


def test_all_is_well_with_fresh_work(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    factories.payment(conn)
    with factories.acting(conn, "worker"):
        for found in (2, 3):
            conn.execute(QUERIES["sweeps.record"], {"name": "leases", "found": found, "walked_to": None})
    answer = postbox("status", "--json")
    assert (answer.code, answer.json["attention"]) == (0, [])
    submit = next(row for row in answer.json["handlers"] if row["handler"] == "submit_payment")
    assert (submit["runnable"], submit["waiting"], submit["dead"]) == (1, 0, 0)
    sweep = answer.json["sweeps"][0]
    assert (sweep["name"], sweep["last_found"], sweep["found"], sweep["runs"]) == ("leases", 3, 5, 2)
    assert "all is well" in postbox("status").out


TROUBLE = {
    "dead letters": "update deliveries set status = 'dead', dead_at = now(), dead_reason = 'misuse', job_id = null",
    "runnable": "update deliveries set due_at = due_at - interval '61 s', created_at = created_at - interval '61 s'",
    "unknown outcome": "update payments set updated_at = updated_at - interval '16 min'",
    "circuit": "insert into circuits (merchant_id, provider, account, state, opened_at, probe_at, reason)"
    " values ('00000000-0000-0000-0000-000000000000', 'stripe', 'default', 'open', now(), now(), 'timeouts')",
}


@pytest.mark.parametrize("said, sql", TROUBLE.items())
def test_what_needs_a_person_is_said_and_exits_with_3(postbox: Postbox, database: Clone, said: str, sql: str) -> None:
    conn = database.connect(admin=True)
    factories.payment(conn, "outcome_unknown")
    assert postbox("status").code == 0
    conn.execute("alter table payments disable trigger user")
    conn.execute(sql)
    answer = postbox("status", "--json")
    assert answer.code == 3
    assert [said in line for line in answer.json["attention"]] == [True]


def test_the_last_webhook_and_the_last_settlement_are_told(postbox: Postbox, database: Clone) -> None:
    assert set(postbox("status", "--json").json["lately"].values()) == {None}
    conn = database.connect(admin=True)
    webhook = factories.webhook(conn)
    settled = factories.payment(conn, "settled")
    lately = postbox("status", "--json").json["lately"]
    assert datetime.fromisoformat(lately["last_webhook_at"]) == webhook["received_at"]
    assert datetime.fromisoformat(lately["last_settled_at"]) == settled["settled_at"]
    page = postbox("status").out
    assert "last webhook: never" not in page
    assert "last settled: never" not in page


def test_a_waiting_delivery_is_no_trouble(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    p = factories.payment(conn)
    with factories.acting(conn, "worker"):
        conn.execute(
            "update deliveries set job_id = null, due_at = now() + interval '1 hour' where payment_id = %(id)s", p
        )
    answer = postbox("status", "--json")
    submit = next(row for row in answer.json["handlers"] if row["handler"] == "submit_payment")
    assert (answer.code, submit["runnable"], submit["waiting"]) == (0, 0, 1)
    assert 3500 < submit["next_due_in_s"] <= 3600


def test_a_letter_that_was_discarded_is_no_trouble(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    event = story.dead(conn, factories.payment(conn, "confirmed"), "watch_settlement")
    assert postbox("status").code == 3
    postbox("dlq", "discard", f"{event}:watch_settlement", "--reason", "known")
    assert postbox("status").code == 0
