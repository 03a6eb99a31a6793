"""What one person proposed is decided from the command line by another who signs in for it, never by the same."""

from __future__ import annotations

import pytest

from app.config import Timing
from app.db import Tx
from app.services import dead_letters, proposals
from tests import factories
from tests.cli import story
from tests.fixtures.database import Clone, Connection
from tests.ledger import books


@pytest.fixture
def conn(database: Clone) -> Connection:
    return database.connect(admin=True)


@pytest.fixture
def proposed(conn: Connection) -> str:
    """The id of eve's proposal to leave a dead letter that moves money."""
    event = story.dead(conn, factories.payment(conn))
    with factories.signed_in(conn, "eve"):
        tx = Tx(conn)
        [letter] = dead_letters.find(tx, dead_letters.Filter(names=(f"{event}:submit_payment",)), limit=2)
        row = proposals.propose_discard(tx, letter, by="eve", reason="a duplicate", timing=Timing())
    return str(row["id"])


def letters(conn: Connection) -> list[str]:
    rows = conn.execute("select resolved_by from deliveries where resolution = 'discarded'").fetchall()
    return [row["resolved_by"] for row in rows]


def test_another_person_signs_in_and_approves_and_it_is_done(postbox, conn, person, proposed) -> None:
    [listed] = postbox("proposals", "list", "--json").json
    assert (listed["id"], listed["proposed_by"], listed["status"]) == (proposed, "eve", "open")
    assert postbox("proposals", "show", proposed, "--json").json == listed
    bob = person("bob", "approver")
    decided = bob("proposals", "approve", proposed, "--reason", "seen", "--json").json
    assert (decided["status"], decided["decided_by"], decided["decision_reason"]) == ("approved", "bob", "seen")
    assert letters(conn) == ["eve"]
    assert postbox("proposals", "list").out == "no proposals\n"
    assert [row["id"] for row in postbox("proposals", "list", "--all", "--json").json] == [proposed]
    opened = "select count(*) as n from operator_sessions where ended_at is null and operator_id ="
    assert conn.execute(f"{opened} (select id from operators where name = 'bob')").fetchone() == {"n": 0}


def test_a_name_is_not_enough_nor_is_a_role_that_does_not_decide(postbox, conn, person, proposed) -> None:
    bob, tom = person("bob", "approver"), person("tom", "operator")
    decide = ("proposals", "approve", proposed, "--reason", "seen")
    unproven = postbox(*decide, "--operator", bob.name, typed=f"{tom.password}\n000000\n")
    assert (unproven.code, unproven.err.splitlines()[-1]) == (1, "Error: Name, password or code is wrong.")
    assert postbox(*decide, "--operator", bob.name, typed="").code == 1
    assert tom(*decide).err.splitlines()[-1] == "Error: This actor may not do this."
    assert postbox(*decide, "--operator", bob.name, typed="x\n", POSTBOX_OPERATOR_KEY=None).code == 1
    assert letters(conn) == []
    refused = conn.execute("select entity_id from audit_log where action = 'operator.sign_in_refused'").fetchall()
    assert refused == [{"entity_id": "bob"}]


def test_nobody_approves_their_own_but_may_take_it_back(postbox, conn, person) -> None:
    ann, merchant = person("ann", "admin"), factories.merchant(conn)["id"]
    books.post(conn, merchant, *books.credit(merchant, -700))
    debt = ("--amount", 700, "--currency", "USD", "--reason", "closed its shop")
    made = ann("merchants", "write-off", merchant, *debt, "--json").json["id"]
    assert (
        ann("proposals", "approve", made, "--reason", "mine").err.splitlines()[-1].startswith("Error: Nobody approves")
    )
    bob = person("bob", "approver")
    assert bob("proposals", "reject", made, "--reason", "mistaken", "--json").json["status"] == "rejected"
    assert bob("proposals", "approve", made, "--reason", "late").code == 1
    assert postbox("proposals", "reject", made).code == 2
