"""Dead letters are found, explained, replayed or discarded by name or filter, audited, and nothing that lives"
" is touched."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.config import PLATFORM_MERCHANT_ID
from app.db.queries import QUERIES
from app.services import dead_letters
from jobs.handlers import HANDLERS
from tests import factories
from tests.cli import story
from tests.cli.conftest import Postbox
from tests.factories import Connection
from tests.fixtures.database import Clone


@pytest.fixture
def conn(database: Clone) -> Connection:
    return database.connect(admin=True)


def delivery(conn: Connection, event_id: UUID, handler: str = "submit_payment") -> dict[str, Any]:
    row = conn.execute("select * from deliveries where event_id = %s and handler = %s", [event_id, handler]).fetchone()
    assert row is not None
    return row


def test_a_replay_arms_the_same_delivery_once_and_is_audited(postbox: Postbox, conn: Connection) -> None:
    event = story.dead(conn, factories.payment(conn))
    letter = postbox("dlq", "list", "--json").json[0]
    assert (letter["id"], letter["error_class"]) == (f"{event}:submit_payment", "builtins.ValueError")
    answer = postbox("dlq", "replay", letter["letter"], "--reason", "fixed in 1.2", "--json")
    assert answer.json == [{"letter": letter["letter"], "id": letter["id"], "replayed": True}]
    row = delivery(conn, event)
    assert (row["status"], row["failures"], row["job_id"], row["dead_reason"]) == ("pending", 0, None, None)
    assert (row["resolution"], row["resolved_by"], row["resolved_reason"]) == ("replayed", "ann", "fixed in 1.2")
    assert row["due_at"] <= row["resolved_at"]
    audit = conn.execute("select * from audit_log where action = 'dead_letter.replayed'").fetchall()
    assert [(a["actor_id"], a["reason"], a["entity_id"]) for a in audit] == [("ann", "fixed in 1.2", letter["id"])]
    again = postbox("dlq", "replay", letter["letter"], "--reason", "again")
    assert (again.code, delivery(conn, event)) == (1, row)
    assert "nothing to do" in again.err


def test_a_replayed_delivery_gets_its_job_from_the_promoter(postbox: Postbox, conn: Connection) -> None:
    event = story.dead(conn, factories.payment(conn))
    postbox("dlq", "replay", "--all", "--reason", "fixed")
    with factories.acting(conn, "worker"):
        conn.execute(
            QUERIES["deliveries.promote"],
            {"after": PLATFORM_MERCHANT_ID, "limit": 10, "provider": "stripe", "pause_recheck": 5, "pause_longest": 5},
        )
    assert delivery(conn, event)["job_id"] is not None


def test_a_delivery_that_is_not_dead_is_never_armed(postbox: Postbox, conn: Connection) -> None:
    p = factories.payment(conn)
    row = conn.execute("select event_id from deliveries where payment_id = %(id)s", p).fetchone()
    assert row is not None
    before = delivery(conn, row["event_id"])
    answer = postbox("dlq", "replay", f"{row['event_id']}:submit_payment", "--reason", "try")
    assert (answer.code, delivery(conn, row["event_id"])) == (1, before)
    assert "there is no dead letter" in answer.err


def test_filters_choose_and_dry_run_changes_nothing(postbox: Postbox, conn: Connection) -> None:
    first, second = factories.payment(conn), factories.payment(conn)
    events = [story.dead(conn, first), story.dead(conn, second, error="app.errors.Busy")]
    before = [delivery(conn, event) for event in events]
    entries = conn.execute("select count(*) as n from audit_log").fetchone()

    def planned(*filters: object) -> list[str]:
        plan = postbox("dlq", "replay", *filters, "--dry-run", "--reason", "look", "--json").json
        return sorted(row["id"].split(":")[0] for row in plan)

    assert planned("--all") == sorted(str(event) for event in events)
    assert planned("--merchant", first["merchant_id"]) == [str(events[0])]
    assert planned("--reason-class", "Busy") == [str(events[1])]
    assert planned("--reason-class", "failures", "--handler", "submit_payment") == sorted(map(str, events))
    assert planned("--handler", "close_intent") == []
    assert planned("--since", "2199-01-01") == []
    assert [delivery(conn, event) for event in events] == before
    assert conn.execute("select count(*) as n from audit_log").fetchone() == entries


def test_dry_run_says_how_the_payment_stands_and_how_old_its_key_is(postbox: Postbox, conn: Connection) -> None:
    def told(event: UUID) -> tuple[str, str | None, float | None]:
        [row] = postbox("dlq", "replay", f"{event}:submit_payment", "--dry-run", "--reason", "look", "--json").json
        return row["payment_state"], row["idempotency_key"], row["key_age"]

    p = factories.initiated(conn, factories.merchant(conn)["id"])
    event = story.dead(conn, p)
    assert told(event) == ("initiated", None, None)
    with factories.acting(conn, "worker"):
        op = factories.operation(conn, p, "submit", id=event)
    story.attempt(conn, op, "create", 1)
    conn.execute("alter table operation_attempts disable trigger user")
    conn.execute("update operation_attempts set first_sent_at = clock_timestamp() - interval '2 hours'")
    state, key, age = told(event)
    assert (state, key) == ("initiated", f"{event}:create:1")
    assert age is not None
    assert 7_200 <= age < 7_260


def test_dry_run_says_whether_the_provider_is_called_or_asked_first(postbox: Postbox, conn: Connection) -> None:
    def plan(event: UUID) -> tuple[str, bool, str]:
        answer = postbox("dlq", "replay", f"{event}:submit_payment", "--dry-run", "--reason", "look", "--json")
        row = answer.json[0]
        return row["provider_call"], row["asks_first"], row["effect"]

    assert plan(story.dead(conn, factories.payment(conn))) == (
        "send",
        False,
        "submits the payment: nothing was sent before",
    )
    gone = factories.initiated(conn, factories.merchant(conn)["id"])
    factories.advance(conn, gone, "canceled", actor_type="api")
    assert plan(story.dead(conn, gone)) == ("none", False, "the payment is canceled")

    p = factories.initiated(conn, factories.merchant(conn)["id"])
    event = story.dead(conn, p)
    with factories.acting(conn, "worker"):
        factories.operation(conn, p, "submit", id=event)
    op = {"merchant_id": p["merchant_id"], "id": event}
    assert plan(event) == ("send", False, "sends create: it was never sent before")
    story.attempt(conn, op, "create", 1)
    status = "update operations set status = %s, step = %s where id = %s"
    with factories.acting(conn, "worker"):
        conn.execute(status, ["unknown", "create", event])
    assert plan(event) == ("send", False, "sends create again with the same key")
    story.attempt(conn, op, "confirm", 1)
    with factories.acting(conn, "worker"):
        conn.execute(status, ["unknown", "confirm", event])
    assert plan(event) == ("ask", True, "asks how confirm ended; the same key may follow")
    conn.execute("alter table operation_attempts disable trigger user")
    conn.execute("update operation_attempts set first_sent_at = first_sent_at - interval '24 hours'")
    assert plan(event)[2].endswith("its key is used up, a further one needs the proof of that answer")


def test_dry_run_says_that_what_was_turned_away_is_asked_about_once_its_key_is_old(
    postbox: Postbox, conn: Connection
) -> None:
    p = factories.initiated(conn, factories.merchant(conn)["id"])
    event = story.dead(conn, p)
    with factories.acting(conn, "worker"):
        factories.operation(conn, p, "submit", id=event)
        conn.execute("update operations set step = 'confirm' where id = %s", [event])
    story.attempt(conn, {"merchant_id": p["merchant_id"], "id": event}, "confirm", 1)

    def effect() -> str:
        answer = postbox("dlq", "replay", f"{event}:submit_payment", "--dry-run", "--reason", "look", "--json")
        return str(answer.json[0]["effect"])

    assert effect() == "sends confirm with the key it has"
    conn.execute("alter table operation_attempts disable trigger user")
    conn.execute("update operation_attempts set first_sent_at = first_sent_at - interval '24 hours'")
    assert effect().startswith("asks how confirm ended; its key is used up")


def test_a_discarded_letter_stays_dead_and_is_handled(postbox: Postbox, conn: Connection) -> None:
    event = story.dead(conn, factories.payment(conn, "confirmed"), "watch_settlement")
    assert postbox("dlq", "discard", f"{event}:watch_settlement", "--reason", "duplicate").code == 0
    row = delivery(conn, event, "watch_settlement")
    assert (row["status"], row["resolution"], row["resolved_reason"]) == ("dead", "discarded", "duplicate")
    assert postbox("dlq", "list", "--json").json == []
    assert len(postbox("dlq", "list", "--handled", "--json").json) == 1
    assert postbox("dlq", "replay", "--all", "--reason", "x").out.strip() == "no dead letters"


def test_of_all_handlers_these_move_nothing(conn: Connection) -> None:
    rows = conn.execute("select h from unnest(%s::text[]) h where not moves_money(h)", [[*HANDLERS, "new"]]).fetchall()
    assert {row["h"] for row in rows} == dead_letters.ASKING | {"watch_outcome"}
    assert all(HANDLERS[name].lane == "remote" for name in dead_letters.ASKING)


def test_a_replay_of_what_only_books_says_so_and_its_discard_takes_two(postbox: Postbox, conn: Connection) -> None:
    event = story.dead(conn, factories.payment(conn, "confirmed"), "credit_merchant")
    plan = postbox("dlq", "show", f"{event}:credit_merchant", "--json").json["replay"]
    assert (plan["provider_call"], plan["effect"]) == ("none", "works on the database only")
    assert postbox("dlq", "discard", f"{event}:credit_merchant", "--reason", "x").code == 1


def test_a_letter_that_moves_money_is_not_discarded_by_one_person(postbox: Postbox, conn: Connection) -> None:
    event = story.dead(conn, factories.payment(conn))
    refused = postbox("dlq", "discard", f"{event}:submit_payment", "--reason", "duplicate")
    assert refused.code == 1 and "another person decides" in refused.err
    assert delivery(conn, event)["resolution"] is None


def test_show_prints_every_failure_with_its_traceback(postbox: Postbox, conn: Connection) -> None:
    event = story.dead(conn, factories.payment(conn))
    shown = postbox("dlq", "show", f"{event}:submit_payment")
    assert shown.code == 0
    assert [f"failure {n}" in shown.out for n in (1, 2, 3)] == [True] * 3
    assert shown.out.count("Traceback: line 1") == 3
    as_json = postbox("dlq", "show", f"{event}:submit_payment", "--json").json
    assert [failure["message"] for failure in as_json["history"]] == ["failure 1", "failure 2", "failure 3"]


def test_a_replay_says_which_and_why(postbox: Postbox) -> None:
    assert postbox("dlq", "replay", "--all").code == 2
    assert postbox("dlq", "replay", "--reason", "x").code == 2
    assert postbox("dlq", "replay", "beef", "--all", "--reason", "x").code == 2
