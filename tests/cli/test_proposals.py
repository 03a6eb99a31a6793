"""What one person proposed at /ops/v1 is looked at and decided from the command line by another, never by the same."""

from __future__ import annotations

import pytest

from app.config import Timing
from app.db import Tx
from app.services import dead_letters, proposals
from tests import factories
from tests.cli import story
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone, Connection


@pytest.fixture
def conn(database: Clone) -> Connection:
    return database.connect(admin=True)


@pytest.fixture
def proposed(conn: Connection) -> str:
    """The id of ann's proposal to leave a dead letter that moves money."""
    for name in ("ann", "bob"):
        with factories.acting(conn, "operator"):
            conn.execute("insert into operators (name, role) values (%s, 'approver')", [name])
    event = story.dead(conn, factories.payment(conn))
    with factories.acting(conn, "operator", actor_id="ann"):
        tx = Tx(conn)
        [letter] = dead_letters.find(tx, dead_letters.Filter(names=(f"{event}:submit_payment",)), limit=2)
        row = proposals.propose_discard(tx, letter, by="ann", reason="a duplicate", timing=Timing())
    return str(row["id"])


def letters(conn: Connection) -> list[str]:
    rows = conn.execute("select resolved_by from deliveries where resolution = 'discarded'").fetchall()
    return [row["resolved_by"] for row in rows]


def test_another_person_approves_and_it_is_done(postbox: Postbox, conn: Connection, proposed: str) -> None:
    [listed] = postbox("proposals", "list", "--json").json
    assert (listed["id"], listed["proposed_by"], listed["status"]) == (proposed, "ann", "open")
    assert postbox("proposals", "show", proposed, "--json").json == listed
    decided = postbox("proposals", "approve", proposed, "--reason", "seen", "--operator", "bob", "--json").json
    assert (decided["status"], decided["decided_by"], decided["decision_reason"]) == ("approved", "bob", "seen")
    assert letters(conn) == ["ann"]
    assert postbox("proposals", "list").out == "no proposals\n"
    assert [row["id"] for row in postbox("proposals", "list", "--all", "--json").json] == [proposed]


def test_nobody_approves_their_own_but_anybody_may_take_it_back(
    postbox: Postbox, conn: Connection, proposed: str
) -> None:
    assert postbox("proposals", "approve", proposed, "--reason", "mine").code == 1
    assert letters(conn) == []
    assert postbox("proposals", "reject", proposed, "--reason", "mistaken", "--json").json["status"] == "rejected"
    assert postbox("proposals", "approve", proposed, "--reason", "late", "--operator", "bob").code == 1
    assert postbox("proposals", "reject", proposed).code == 2
