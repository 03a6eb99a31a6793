"""A loss is asked for by one person and booked when another approves it; the sheet tells who did what."""

from __future__ import annotations

import pytest

from tests import factories
from tests.gateway.ops.test_acts import REASON
from tests.ledger import books
from tests.reconciliation import comparing


@pytest.fixture
def path(sql) -> str:
    """A discrepancy whose money is in clearing."""
    p = factories.payment(sql, "failed")
    books.fact(sql, p)
    books.handle_facts(sql)
    comparing.compare(sql, p)
    row = sql.execute("select id from discrepancies where type = 'money_after_final'").fetchone()
    return f"/ops/v1/discrepancies/{row['id']}"


def losses(sql) -> int:
    lines = (
        "select count(*) as n from ledger_lines l join ledger_accounts a on a.id = l.account_id where a.code = 'losses'"
    )
    return sql.execute(lines).fetchone()["n"]


def test_what_one_asks_for_another_approves_and_it_is_booked(desk, sql, path):
    maker, checker = desk("operator"), desk("approver")
    asked = maker.post(f"{path}/write-off", REASON)
    assert (asked.status_code, asked.get_json()["write_off_asked_by"], losses(sql)) == (202, maker.name, 0)
    done = checker.post(f"{path}/write-off/approve", REASON).get_json()
    assert (done["status"], done["approved_by"], losses(sql)) == ("written_off", checker.name, 1)
    sheet = checker.get(path).get_json()
    assert (sheet["resolved_by"], sheet["status"]) == (maker.name, "written_off")
    assert {deed["actor_id"] for deed in sheet["history"]} >= {maker.name, checker.name}
    assert checker.post(f"{path}/write-off/approve", REASON).get_json()["code"] == "state_conflict"


def test_nobody_does_both_halves_whatever_their_role(desk, sql, path):
    root, other = desk("admin"), desk("admin")
    assert root.post(f"{path}/write-off/approve", REASON).get_json()["code"] == "state_conflict"
    assert root.post(f"{path}/write-off", REASON).status_code == 202
    assert root.post(f"{path}/write-off/approve", REASON).get_json()["code"] == "same_person"
    # asking for what another asked for is no way to approve it
    assert other.post(f"{path}/write-off", REASON).get_json()["code"] == "state_conflict"
    assert losses(sql) == 0
    assert root.get(path).get_json()["write_off_asked_by"] == root.name
