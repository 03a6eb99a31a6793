"""The books at the command line: a trial balance that ends in zero, an account, an entry, a reversal."""

from __future__ import annotations

import pytest

from tests import factories
from tests.cli import story
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone


@pytest.fixture
def told(database: Clone) -> story.Story:
    return story.settled(database.connect(admin=True))


def test_a_trial_balance_ends_in_zero(postbox: Postbox, told: story.Story) -> None:
    answer = postbox("ledger", "trial-balance", "--json")
    assert (answer.code, answer.json["control_total"]) == (0, {"usd": 0})
    held = {row["account"]: (row["kind"], row["debits"], row["credits"]) for row in answer.json["accounts"]}
    assert held == {
        "clearing:stripe": ("asset", 1_000, 1_000), "stripe:available": ("asset", 941, 0),
        "provider_fees": ("expense", 59, 0), "merchant:*:available": ("liability", 0, 1_000),
    }  # fmt: skip
    people = postbox("ledger", "trial-balance").out
    assert "10.00 usd" in people and "control total: 0 usd" in people


def test_a_trial_balance_that_does_not_end_in_zero_exits_1(
    postbox: Postbox, database: Clone, told: story.Story
) -> None:
    conn = database.connect(admin=True)
    conn.execute("alter table ledger_lines disable trigger user")
    conn.execute("update ledger_lines set amount = amount + 5 where amount = 59")
    answer = postbox("ledger", "trial-balance", "--json")
    assert (answer.code, answer.json["control_total"]) == (1, {"usd": 5})


def test_a_merchant_and_a_moment_narrow_it(postbox: Postbox, told: story.Story) -> None:
    mine = postbox("ledger", "trial-balance", "--merchant", told["merchant_id"], "--json").json["accounts"]
    assert [row["account"] for row in mine] == ["merchant:*:available"]
    assert postbox("ledger", "trial-balance", "--until", "2020-01-01", "--json").json["accounts"] == []


def test_an_account_shows_what_it_holds_and_its_lines(postbox: Postbox, told: story.Story) -> None:
    found = postbox("ledger", "account", f"merchant:{told['merchant_id']}:available", "--json").json
    assert (found["holds"], [line["amount"] for line in found["lines"]]) == ({"usd": -1_000}, [-1_000])
    cleared = postbox("ledger", "account", "clearing:stripe", "--payment", told["payment_id"], "--json").json
    assert sorted(line["amount"] for line in cleared["lines"]) == [-1_000, 1_000]
    assert f"pay_{told['payment_id'].hex}" in postbox("ledger", "account", "clearing:stripe").out


@pytest.mark.parametrize("name", ["pocket", "merchant:x:pending", "merchant:pending"])
def test_an_account_that_is_none_is_one_line_on_stderr(postbox: Postbox, name: str) -> None:
    answer = postbox("ledger", "account", name)
    assert (answer.code, len(answer.err.strip().splitlines())) == (1, 1)


def test_an_entry_is_shown_and_reversed_once(postbox: Postbox, database: Clone, told: story.Story) -> None:
    [line] = postbox("ledger", "account", f"merchant:{told['merchant_id']}:available", "--json").json["lines"]
    entry = postbox("ledger", "entry", line["entry"], "--json").json
    assert (entry["kind"], [row["amount"] for row in entry["lines"]]) == ("payment_credited", [1_000, -1_000])
    assert postbox("ledger", "reverse", line["entry"]).code == 2, "without a reason nothing is corrected"
    made = postbox("ledger", "reverse", line["entry"], "--reason", "posted twice by hand", "--json").json["entry"]
    assert postbox("ledger", "entry", line["entry"], "--json").json["reversed_by"] == made
    assert postbox("ledger", "reverse", line["entry"], "--reason", "again").code == 1
    audited = database.connect(admin=True).execute("select * from audit_log where entity_id = %s", [made]).fetchone()
    assert (audited["actor_id"], audited["reason"]) == ("ann", "posted twice by hand")
    assert postbox("ledger", "trial-balance").code == 0


def test_an_entry_that_is_none_is_refused(postbox: Postbox) -> None:
    assert postbox("ledger", "entry", "nonsense").code == 2
    assert postbox("ledger", "entry", factories.uuid.uuid4()).code == 1
