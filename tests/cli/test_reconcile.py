"""`postbox reconcile` and `postbox discrepancies`: what people see, do, and may not do alone."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests import factories
from tests.cli.conftest import Postbox
from tests.factories import Connection
from tests.fixtures.database import Clone
from tests.ledger import books
from tests.reconciliation.comparing import line, met


@pytest.fixture
def conn(database: Clone) -> Connection:
    return database.connect(admin=True)


def damaged(conn: Connection) -> dict[str, Any]:
    """A failed payment with money at the provider, and a settled one that is well."""
    met(conn, amount=4_200)
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


def test_a_run_is_about_the_payments_it_names(postbox: Postbox, conn: Connection) -> None:
    p = damaged(conn)
    assert postbox("reconcile", "run", "--payment", str(p["id"]), "--json").json["payments"] == 1
    assert postbox("reconcile", "run", "--provider", "ach", "--json").json["payments"] == 0
    assert postbox("reconcile", "run", "--since", "2099-01-01", "--json").json["payments"] == 0


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


class Loads(HTMLParser):
    """What a page asks a browser to load, and the scripts it has."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "srcset", "onload", "onclick")]
        self.found += [tag] * (tag in ("script", "link", "img", "iframe"))


def test_the_report_is_one_page_that_loads_nothing_and_escapes_everything(
    postbox: Postbox, conn: Connection, tmp_path: Path
) -> None:
    damaged(conn)
    p = met(conn, amount=900, reference="<b>order</b>")
    line(conn, p, "charge", 50)
    books.fact(conn, None, gross=770)
    page = tmp_path / "report.html"
    assert postbox("reconcile", "run", "--html", str(page)).code == 3
    text = page.read_text()
    parser = Loads()
    parser.feed(text)
    assert parser.found == [] and "url(" not in text and "@import" not in text
    assert "&lt;b&gt;order&lt;/b&gt;" in text and "<b>order" not in text
    assert f'<td class="when">{datetime.now(UTC).date()}</td><td>stripe</td><td class="n">2</td>' in text
    for told in ("7.70 usd", "42.00 usd", "9.00 usd", "duplicate_charge", "money_after_final", "51.00 usd"):
        assert told in text, told


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
