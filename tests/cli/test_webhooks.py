"""Provider events are listed, explained and handled again from the command line, by the service that /ops/v1 uses."""

from __future__ import annotations

import pytest

from tests import factories
from tests.cli import story
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone, Connection


@pytest.fixture
def conn(database: Clone) -> Connection:
    return database.connect(admin=True)


@pytest.fixture
def handled(conn: Connection) -> story.Story:
    """A stored event whose delivery is done."""
    return story.settled(conn)


def status_of(conn: Connection) -> list[str]:
    rows = conn.execute("select status from deliveries where handler = 'apply_webhook'").fetchall()
    return [row["status"] for row in rows]


def test_an_event_is_found_by_both_of_its_ids(postbox: Postbox, handled: story.Story) -> None:
    [listed] = postbox("webhooks", "list", "--json").json
    assert (listed["id"], listed["provider_event_id"], listed["status"]) == (
        str(handled["webhook_id"]), handled["evt"], "done",
    )  # fmt: skip
    for name in (handled["webhook_id"], handled["evt"]):
        assert postbox("webhooks", "show", name, "--json").json == listed | {
            "effect": "fetches the object and applies what it says"
        }
    assert postbox("webhooks", "list", "--type", "no.such").out == "no webhooks\n"
    assert postbox("webhooks", "show", "evt_nobodys").err == "Error: there is no webhook evt_nobodys\n"


def test_a_dry_run_changes_nothing_and_a_replay_has_it_handled_again(
    postbox: Postbox, conn: Connection, handled: story.Story
) -> None:
    replay = ("webhooks", "replay", handled["evt"], "--reason", "fixed in 1.4.2", "--json")
    [plan] = postbox(*replay, "--dry-run").json
    assert (plan["effect"], status_of(conn)) == ("fetches the object and applies what it says", ["done"])
    assert postbox(*replay).json == [{"id": str(handled["webhook_id"]), "replayed": True}]
    assert status_of(conn) == ["pending"]
    told = conn.execute("select actor_id, reason from audit_log where action = 'webhook.replayed'").fetchall()
    assert told == [{"actor_id": "ann", "reason": "fixed in 1.4.2"}]
    assert postbox(*replay).code == 1
    assert "waits to be handled anyway" in postbox("webhooks", "show", handled["evt"]).out
    assert postbox("webhooks", "replay", handled["evt"]).code == 2


def test_a_dead_letter_is_replayed_as_one(postbox: Postbox, conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    webhook = factories.webhook(conn, payment_ref=p["provider_ref"])
    with factories.acting(conn, "worker"):
        conn.execute(
            "update deliveries set status = 'dead', dead_at = clock_timestamp(), dead_reason = 'failures',"
            " failures = 3, job_id = null where handler = 'apply_webhook'"
        )
    assert postbox("webhooks", "replay", webhook["id"], "--reason", "fixed").code == 0
    assert status_of(conn) == ["pending"]
    assert conn.execute("select resolution, resolved_by from deliveries where resolution is not null").fetchall() == [
        {"resolution": "replayed", "resolved_by": "ann"}
    ]
