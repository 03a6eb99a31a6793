"""The page of `postbox reconcile run --html`: it loads nothing; what matches, is outstanding or disagrees is on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests import factories
from tests.cli.conftest import Postbox
from tests.cli.test_reconcile import conn, damaged
from tests.factories import Connection, Row
from tests.ledger import books
from tests.reconciliation.comparing import line, met

__all__ = ["conn"]


class Page(HTMLParser):
    """What a page asks a browser to load, the scripts it has, and its tables by their first header, row by row."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "srcset", "onload", "onclick")]
        self.loads += [tag] * (tag in ("script", "link", "img", "iframe"))
        self.rows += [[]] * (tag == "tr")
        if tag in ("td", "th"):
            self.rows[-1] = [*self.rows[-1], ""]
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data

    def of(self, first: str) -> list[list[str]]:
        """The cells after `first`, of every row that begins with it."""
        return [row[1:] for row in self.rows if row[:1] == [first]]


@pytest.fixture
def report(postbox: Postbox, tmp_path: Path) -> Callable[[], Page]:
    """Compare everything and read the page about it."""

    def made() -> Page:
        path = tmp_path / "report.html"
        assert postbox("reconcile", "run", "--html", str(path)).code in (0, 3)
        return Page(path)

    return made


Report = Callable[[], Page]


def two_days_ago(conn: Connection, p: Row) -> None:
    conn.execute("alter table payments disable trigger user")
    conn.execute("update payments set confirmed_at = confirmed_at - interval '2 days' where id = %(id)s", p)
    conn.execute("alter table payments enable trigger user")


def charged_twice(conn: Connection, amount: int, **columns: Any) -> Row:
    p = met(conn, amount=amount, **columns)
    line(conn, p, "charge", 50)
    return p


def test_the_report_is_one_page_that_loads_nothing_and_escapes_everything(conn: Connection, report: Report) -> None:
    charged_twice(conn, 900, reference="<b>order</b>")
    page = report()
    assert page.loads == [] and "url(" not in page.text and "@import" not in page.text
    assert "&lt;b&gt;order&lt;/b&gt;" in page.text and "<b>order" not in page.text


def test_the_report_counts_as_matched_what_meets_and_as_outstanding_what_one_book_does_not_have_yet(
    conn: Connection, report: Report
) -> None:
    met(conn, amount=4_200)
    two_days_ago(conn, met(conn, amount=1_100))
    charged_twice(conn, 900)
    factories.payment(conn, "confirmed", amount=12_300)
    books.fact(conn, None, gross=770)
    damaged(conn, amount=300)
    now = datetime.now(UTC)
    page = report()
    # payments, captured = matched + outstanding + unmatched, payments that do not meet
    assert page.of("stripe") == [["usd", "5", "188.00 usd", "56.00 usd", "123.00 usd", "9.00 usd", "1"]]
    assert page.of(str((now - timedelta(days=2)).date())) == [
        ["stripe", "1", "11.00 usd", "11.00 usd", "0.00 usd", "0.00 usd", "0"]
    ]
    today, nobodys = page.of(str(now.date()))
    assert today == ["stripe", "4", "177.00 usd", "45.00 usd", "123.00 usd", "9.00 usd", "1"]
    assert nobodys == ["stripe", "1", "7.70 usd"]


def test_the_report_counts_what_is_open_by_age(conn: Connection, report: Report) -> None:
    charged_twice(conn, 900), charged_twice(conn, 700), damaged(conn)
    report()
    conn.execute("alter table discrepancies disable trigger user")
    old = "first_seen_at = now() - interval '5 days', sla_due_at = now() - interval '4 days'"
    conn.execute(f"update discrepancies set {old} where type = 'money_after_final'")
    page = report()
    # 0-1 d, 1-3 d, 3-7 d, 7-30 d, over 30 d, past deadline
    assert page.of("critical") == [["2", "0", "1", "0", "0", "1"]]
    assert [page.of(severity) for severity in ("high", "medium", "low")] == [[["0"] * 6]] * 3


def test_what_a_person_closed_is_matched_once_it_meets_and_not_before(
    postbox: Postbox, conn: Connection, report: Report
) -> None:
    p = charged_twice(conn, 900)
    postbox("reconcile", "run")
    [one] = postbox("discrepancies", "list", "--json").json
    postbox("discrepancies", "resolve", one["id"], "--code", "explained", "--reason", "they give it back")
    assert report().of("stripe") == [["usd", "1", "9.00 usd", "0.00 usd", "0.00 usd", "9.00 usd", "1"]]
    line(conn, p, "refund", -50)
    assert report().of("stripe") == [["usd", "1", "9.00 usd", "9.00 usd", "0.00 usd", "0.00 usd", "0"]]


def test_what_was_written_off_is_not_matched(postbox: Postbox, conn: Connection, report: Report, person) -> None:
    p = charged_twice(conn, 900)
    postbox("reconcile", "run")
    [one] = postbox("discrepancies", "list", "--json").json
    for somebody in (person("ann", "admin"), person("ben", "approver")):
        assert somebody("discrepancies", "write-off", one["id"], "--reason", "too small").code == 0
    assert "clearing:stripe" not in books.books(conn, payment_id=p["id"])
    assert report().of("stripe") == [["usd", "1", "9.00 usd", "0.00 usd", "0.00 usd", "9.00 usd", "1"]]
