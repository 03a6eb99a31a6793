"""`postbox merchant-payouts` and `postbox reserve`: what an operator moves, why, and how the trial balance shows it."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.cli import story
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone
from tests.ledger import books

USD = ("--currency", "USD", "--reason", "weekly")


@pytest.fixture
def merchant(database: Clone) -> Any:
    """Who has 10.00 available."""
    return story.settled(database.connect(admin=True))["merchant_id"]


def held(postbox: Postbox) -> dict[str, int]:
    answer = postbox("ledger", "trial-balance", "--json")
    assert (answer.code, answer.json["control_total"]) == (0, {"usd": 0})
    return {row["account"]: row["balance"] for row in answer.json["accounts"]}


def test_a_payout_is_made_paid_and_shown_with_what_it_posted(postbox: Postbox, merchant: Any) -> None:
    made = postbox("merchant-payouts", "create", merchant, "--amount", 600, *USD, "--json").json
    assert (made["status"], made["requested_by"], held(postbox)["merchant_payouts_in_flight"]) == (
        "requested", "ann", -600,
    )  # fmt: skip
    bank = ("--bank-account", "main", "--bank-ref", "b-1", "--reason", "statement 12")
    assert "is paid" in postbox("merchant-payouts", "paid", made["payout"], *bank).out
    after = held(postbox)
    assert (after["bank:main"], after["merchant_payouts_in_flight"], after["merchant:*:available"]) == (-600, 0, -400)
    shown = postbox("merchant-payouts", "show", made["payout"], "--json").json
    assert [entry["kind"] for entry in shown["entries"]] == ["merchant_payout_requested", "merchant_payout_paid"]
    assert made["payout"] in postbox("merchant-payouts", "list", "--merchant", merchant).out
    assert postbox("check", "--quiesced").code == 0


def test_more_than_there_is_is_refused_in_one_line(postbox: Postbox, merchant: Any) -> None:
    refused = postbox("merchant-payouts", "create", merchant, "--amount", 1_001, *USD)
    assert (refused.code, refused.err) == (1, "Error: The merchant has not so much.\n")
    assert postbox("merchant-payouts", "list", "--json").json == []
    assert postbox("merchant-payouts", "create", merchant, "--amount", 1, "--currency", "usd").code == 2


def test_a_reserve_is_held_and_released(postbox: Postbox, merchant: Any) -> None:
    assert postbox("reserve", "hold", merchant, "--amount", 300, *USD).code == 0
    assert held(postbox)["merchant:*:reserve"] == -300
    assert postbox("reserve", "release", merchant, "--amount", 301, *USD).code == 1
    entry = postbox("reserve", "release", merchant, "--amount", 300, *USD, "--json").json["entry"]
    assert postbox("ledger", "entry", entry, "--json").json["kind"] == "reserve_released"
    assert held(postbox)["merchant:*:reserve"] == 0


def test_a_debt_is_listed_proposed_by_one_and_written_off_by_another(postbox: Postbox, database: Clone, person) -> None:
    conn = database.connect(admin=True)
    merchant = factories.merchant(conn)["id"]
    books.post(conn, merchant, *books.credit(merchant, -700))
    ann, bob = person("ann", "admin"), person("bob", "approver")
    [row] = postbox("merchants", "owing", "--json").json
    assert (row["merchant_id"], row["owes"]) == (str(merchant), 700)
    why = ("--currency", "USD", "--reason", "closed its shop")
    assert ann("merchants", "write-off", merchant, "--amount", 701, *why).code == 1
    made = ann("merchants", "write-off", merchant, "--amount", 700, *why, "--json").json
    assert bob("proposals", "approve", made["id"], "--reason", "agreed").code == 0
    assert postbox("merchants", "owing").out == "no merchant owes us anything\n"
    assert held(postbox)["losses"] == 700
