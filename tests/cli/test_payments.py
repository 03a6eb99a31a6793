"""`postbox payments` shows the register to people in money and to machines in minor units; `states` draws the"
" table."""

from __future__ import annotations

import pytest

from app.config import ROOT
from cli.main import COMMANDS, main
from cli.render import age, money
from tests import factories
from tests.cli import story
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone


def test_filters_leave_what_they_say_newest_first(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    first, second = factories.payment(conn), factories.payment(conn, "failed")

    def listed(*filters: object) -> list[str]:
        return [row["payment_id"] for row in postbox("payments", "list", *filters, "--json").json]

    assert listed() == [str(second["id"]), str(first["id"])]
    assert listed("--limit", 1) == [str(second["id"])]
    assert listed("--state", "initiated") == [str(first["id"])]
    assert listed("--merchant", second["merchant_id"]) == [str(second["id"])]
    assert listed("--since", "2199-01-01") == []
    assert postbox("payments", "list", "--state", "lost").code == 2


def test_show_takes_both_forms_of_an_id_and_tells_what_is_open(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    p = factories.payment(conn)
    story.dead(conn, p)
    for identity in (p["id"], f"pay_{p['id'].hex}"):
        found = postbox("payments", "show", identity, "--json").json
        assert (found["payment"], found["amount"], found["has_dead_letter"]) == (f"pay_{p['id'].hex}", 1000, True)
        assert [row["status"] for row in found["open_deliveries"]] == ["dead"]
    assert "10.00 usd" in postbox("payments", "show", p["id"]).out
    assert postbox("payments", "show", "0" * 32).code == 1


def test_money_is_written_by_its_exponent() -> None:
    assert money(1050, "usd", 2) == "10.50 usd"
    assert money(1050, "jpy", 0) == "1050 jpy"
    assert money(5, "kwd", 3) == "0.005 kwd"
    assert money(-1, "eur", 2) == "-0.01 eur"
    assert money(None, "eur", 2) is None


def test_ages_are_short() -> None:
    assert [age(seconds) for seconds in (0.4, 119, 120, 7200, 200_000)] == ["0 s", "119 s", "2 m", "2 h", "2 d"]
    assert age(None) is None


def test_states_draws_every_edge_of_the_table(postbox: Postbox, database: Clone) -> None:
    drawn = postbox("states").out.splitlines()
    edges = database.connect(admin=True).execute("select * from payment_transitions").fetchall()
    assert drawn[0] == "stateDiagram-v2"
    for edge in edges:
        assert f"    {edge['from_state']} --> {edge['to_state']}: {edge['event']}" in drawn
    assert len([line for line in drawn if "-->" in line and "[*]" not in line]) == len(edges) == 54


def test_every_command_can_say_what_it_is_for(postbox: Postbox) -> None:
    for name in COMMANDS:
        assert postbox(name, "--help").code == 0, name
    assert set(main.commands) == set()


def test_the_picture_in_the_readme_is_the_one_the_table_draws(postbox: Postbox) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.partition("<!-- states:begin -->")[2].partition("<!-- states:end -->")[0]
    assert block.strip().removeprefix("```mermaid").removesuffix("```").strip() == postbox("states").out.strip()


@pytest.mark.parametrize("command", ["payments list", "dlq list", "merchants list", "keys list", "status", "check"])
def test_reading_changes_nothing(postbox: Postbox, database: Clone, command: str) -> None:
    conn = database.connect(admin=True)
    factories.payment(conn)
    before = conn.execute("select count(*) as n, max(xmin::text::bigint) as x from audit_log").fetchone()
    assert postbox(*command.split()).code == 0
    assert conn.execute("select count(*) as n, max(xmin::text::bigint) as x from audit_log").fetchone() == before
