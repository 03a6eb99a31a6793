"""`postbox reconcile` and `postbox discrepancies`: what people see, do, and may not do alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.cli.conftest import Postbox
from tests.factories import Connection, Row
from tests.fixtures.database import Clone
from tests.ledger import books
from tests.reconciliation.comparing import line, met, payout


@pytest.fixture
def conn(database: Clone) -> Connection:
    return database.connect(admin=True)


def damaged(conn: Connection, *, amount: int = 4_200) -> dict[str, Any]:
    """A failed payment with money at the provider, and a settled one of this amount that is well."""
    met(conn, amount=amount)
    p = factories.payment(conn, "failed")
    line(conn, p, "charge", p["amount"])
    return p


def test_a_run_opens_what_does_not_meet_and_a_second_run_changes_nothing(postbox: Postbox, conn: Connection) -> None:
    p = damaged(conn)
    first = postbox("reconcile", "run", "--json")
    assert (first.code, first.json["payments"], first.json["opened"]) == (3, 2, 1)
    before = conn.execute("select * from discrepancies").fetchall()
    assert [(row["type"], row["payment_id"], row["detected_by"]) for row in before] == [
        ("money_after_final", p["id"], "operator")
    ]
    second = postbox("reconcile", "run", "--json")
    assert (second.code, second.json["opened"], second.json["closed"]) == (3, 0, 0)
    assert conn.execute("select * from discrepancies").fetchall() == before


def test_a_dry_run_says_what_it_would_open_and_changes_nothing(postbox: Postbox, conn: Connection) -> None:
    damaged(conn)
    told = postbox("reconcile", "run", "--dry-run", "--json")
    assert (told.code, told.json["opened"], [row["type"] for row in told.json["plan"]]) == (0, 1, ["money_after_final"])
    assert conn.execute("select * from discrepancies").fetchall() == []


def test_a_run_without_a_range_compares_the_ledger_with_itself(postbox: Postbox, conn: Connection) -> None:
    met(conn)
    conn.execute("alter table ledger_balances disable trigger user")
    conn.execute("update ledger_balances set amount = amount + 1 where amount <> 0")
    told = postbox("reconcile", "run", "--dry-run", "--json")
    assert (told.code, told.json["opened"], [row["type"] for row in told.json["plan"]]) == (0, 1, ["ledger_imbalance"])
    assert "ledger_account/merchant:" in postbox("reconcile", "run", "--dry-run").out
    assert postbox("reconcile", "run", "--since", "2020-01-01", "--json").json["opened"] == 0
    assert [postbox("reconcile", "run", "--json").json["opened"] for _ in range(2)] == [1, 0]


def nobodys(conn: Connection) -> Row:
    """A charge of 7.70 that has been nobody's for an hour, and a payout that is a cent more than its lines."""
    payout(conn, 900, amount=901)
    found = books.fact(conn, None, gross=770)
    conn.execute("update provider_transactions set recorded_at = now() - interval '1 hour' where ref = %(ref)s", found)
    return found


def test_a_run_without_a_range_compares_what_the_provider_has_about_no_payment(
    postbox: Postbox, conn: Connection
) -> None:
    met(conn), nobodys(conn)
    dry = postbox("reconcile", "run", "--dry-run", "--json")
    plan = [(row["would"], row["type"], row["expected"], row["actual"]) for row in dry.json["plan"]]
    assert plan == [("open", "payout_mismatch", 901, 900), ("open", "missing_here", 0, 770)]
    assert (dry.code, conn.execute("select from discrepancies").fetchall()) == (0, [])
    assert postbox("reconcile", "run", "--since", "2020-01-01", "--json").json["opened"] == 0
    told = [postbox("reconcile", "run", "--json") for _ in range(2)]
    assert [(one.code, one.json["opened"], one.json["open_critical"]) for one in told] == [(3, 2, 1), (3, 0, 1)]
    assert postbox("reconcile", "run", "--dry-run", "--json").json["plan"] == []
    found = conn.execute("select type, detected_by from discrepancies order by type").fetchall()
    assert found == [
        {"type": "missing_here", "detected_by": "operator"},
        {"type": "payout_mismatch", "detected_by": "operator"},
    ]


def test_a_run_without_a_range_closes_what_has_met_since(postbox: Postbox, conn: Connection) -> None:
    p, found = met(conn), nobodys(conn)
    assert postbox("reconcile", "run", "--json").json["opened"] == 2
    conn.execute("alter table payouts disable trigger user")
    conn.execute("update payouts set amount = 900")
    with factories.acting(conn, "worker"):
        conn.execute(
            "update provider_transactions set merchant_id = %(merchant_id)s, payment_id = %(id)s where ref = %(ref)s",
            p | {"ref": found["ref"]},
        )
    dry = postbox("reconcile", "run", "--dry-run", "--json").json
    assert [row["type"] for row in dry["plan"] if row["would"] == "close"] == ["payout_mismatch", "missing_here"]
    assert postbox("reconcile", "run", "--json").json["closed"] == 2


def test_a_run_is_about_the_payments_it_names(postbox: Postbox, conn: Connection) -> None:
    p = damaged(conn)
    assert postbox("reconcile", "run", "--payment", str(p["id"]), "--json").json["payments"] == 1
    assert postbox("reconcile", "run", "--provider", "ach", "--json").json["payments"] == 0
    assert postbox("reconcile", "run", "--since", "2099-01-01", "--json").json["payments"] == 0
    assert postbox("reconcile", "run", "--until", "2020-01-01", "--json").json["payments"] == 0
    assert postbox("reconcile", "run", "--since", "2020-01-01", "--until", "2099-01-01", "--json").json["payments"] == 2


def test_all_is_well_is_exit_code_0(postbox: Postbox, conn: Connection) -> None:
    met(conn)
    assert postbox("reconcile", "run").code == 0
    assert postbox("discrepancies", "list").code == 0


def opened(postbox: Postbox, conn: Connection) -> str:
    damaged(conn)
    postbox("reconcile", "run")
    listed = postbox("discrepancies", "list", "--json")
    assert listed.code == 3
    return str(listed.json[0]["id"])


def test_whatever_looks_at_books_exits_3_while_a_critical_one_is_open_and_what_acts_does_not(
    postbox: Postbox, conn: Connection
) -> None:
    one, ref = opened(postbox, conn), payout(conn, 900)["ref"]
    books.handle_facts(conn)
    looks = [("reconcile", "run"), ("reconcile", "run", "--dry-run"), ("reconcile", "balance"),
             ("reconcile", "payout", ref), ("discrepancies", "list"), ("discrepancies", "show", one)]  # fmt: skip
    assert [postbox(*look).code for look in looks] == [3] * len(looks)
    assert postbox("discrepancies", "ack", one, "--reason", "calling them").code == 0
    assert postbox("discrepancies", "resolve", one, "--code", "explained", "--reason", "refunded by wire").code == 0
    assert [postbox(*look).code for look in looks] == [0] * len(looks)


def test_a_person_takes_care_of_one_and_closes_it_for_a_reason(postbox: Postbox, conn: Connection) -> None:
    one = opened(postbox, conn)
    assert postbox("discrepancies", "resolve", one, "--code", "explained").code == 2
    assert postbox("discrepancies", "ack", one, "--reason", "calling them", "--operator", "ann").code == 0
    closed = postbox("discrepancies", "resolve", one, "--code", "explained", "--reason", "refunded by wire", "--json")
    assert (closed.json["status"], closed.json["resolution_note"]) == ("resolved", "refunded by wire")
    assert postbox("discrepancies", "resolve", one, "--code", "x", "--reason", "again").code == 1
    shown = postbox("discrepancies", "show", one, "--json").json
    assert [row["action"] for row in shown["history"]] == [
        "discrepancy.opened", "discrepancy.acknowledged", "discrepancy.resolved",
    ]  # fmt: skip


def test_what_a_person_closed_stays_closed_until_its_amounts_change(postbox: Postbox, conn: Connection) -> None:
    one = opened(postbox, conn)
    postbox("discrepancies", "resolve", one, "--code", "explained", "--reason", "refunded by wire")
    assert postbox("reconcile", "run", "--json").json["opened"] == 0
    p = conn.execute("select * from payments where state = 'failed'").fetchone()
    assert p is not None
    line(conn, p, "charge", 70)
    assert postbox("reconcile", "run", "--json").json["opened"] == 1
    [again] = postbox("discrepancies", "list", "--json").json
    assert (again["reopens"], again["actual"]) == (1, 1_070)


def test_a_write_off_takes_two_operators_and_posts_the_loss(postbox: Postbox, conn: Connection, person) -> None:
    one, ann, ben = opened(postbox, conn), person("ann", "admin"), person("ben", "approver")
    for _ in range(2):
        asked = ann("discrepancies", "write-off", one, "--reason", "too small", "--json")
        assert (asked.json["status"], asked.json["write_off_asked_by"]) == ("open", "ann")
    done = ben("discrepancies", "write-off", one, "--reason", "too small", "--json")
    assert (done.json["status"], done.json["resolved_by"], done.json["approved_by"]) == ("written_off", "ann", "ben")
    p = conn.execute("select * from payments where state = 'failed'").fetchone()
    assert p is not None
    assert books.books(conn, payment_id=p["id"])["losses"] == {"usd": -1_000}
    assert "clearing:stripe" not in books.books(conn, payment_id=p["id"])
    assert postbox("reconcile", "run", "--json").json["opened"] == 0


@pytest.mark.parametrize(
    "nets, columns, agrees, code",
    [([900, -100], {}, True, 0), ([900, -100], {"amount": 801}, False, 1), ([], {}, None, 1),
     ([], {"automatic": False}, None, 1)],
)  # fmt: skip
def test_a_payout_agrees_when_its_lines_are_read_and_are_its_amount(
    postbox: Postbox, conn: Connection, nets: list[int], columns: dict[str, Any], agrees: bool | None, code: int
) -> None:
    ref = payout(conn, *nets, **columns)["ref"]
    told = postbox("reconcile", "payout", ref, "--json")
    assert (told.code, told.json["agrees"], told.json["lines_sum"]) == (code, agrees, sum(nets) if nets else None)
    shown = postbox("reconcile", "payout", ref)
    assert shown.code == code
    assert ("not known for 0 s" in shown.out or "not known for 1 s" in shown.out) == (agrees is None)


def test_a_days_balance_is_proved_again_from_the_lines_that_are_stored(postbox: Postbox, conn: Connection) -> None:
    met(conn, amount=4_200)
    today = postbox("reconcile", "balance", "--json")
    [row] = today.json["lines"]
    assert (today.code, row["lines"], row["books"], row["agrees"]) == (0, 4_141, 4_141, True)
    assert "was not asked" in postbox("reconcile", "balance").out
    early = postbox("reconcile", "balance", "--date", "2020-01-01", "--json")
    assert (early.code, early.json) == (0, {"lines": [], "told": []})
    conn.execute("alter table ledger_lines disable trigger user")
    conn.execute("update ledger_lines set amount = amount - 1 where amount = 4141")
    assert postbox("reconcile", "balance").code == 1
