"""`postbox refunds` and `postbox disputes`: found, shown with their money, and asked for by an operator."""

from __future__ import annotations

import pytest

from tests import factories
from tests.cli import story
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone


@pytest.fixture
def told(database: Clone) -> story.Story:
    """A payment of 10.00, of which 4.00 are refunded and 6.00 disputed."""
    return story.refunded_and_disputed(database.connect(admin=True))


@pytest.mark.parametrize(
    "noun, state, amount, gross", [("refunds", "succeeded", 400, -400), ("disputes", "open", 600, -600)]
)
def test_those_of_a_payment_are_listed_and_shown_with_their_money(
    postbox: Postbox, told: story.Story, noun: str, state: str, amount: int, gross: int
) -> None:
    [row] = postbox(noun, "list", "--payment", told["payment_id"], "--state", state, "--json").json
    assert (row["amount"], row["payment_id"]) == (amount, str(told["payment_id"]))
    assert postbox(noun, "list", "--merchant", factories.uuid.uuid4(), "--json").json == []
    shown = postbox(noun, "show", row[noun.removesuffix("s")], "--json").json
    assert [line["gross"] for line in shown["lines"]] == [gross]
    assert f"{amount // 100}.00 usd" in postbox(noun, "show", row["id"]).out
    assert postbox(noun, "show", factories.uuid.uuid4()).code == 1


def test_an_operator_refunds_for_a_reason_and_never_more_than_is_left(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    p = factories.payment(conn, "settled")
    assert postbox("refunds", "create", p["id"]).code == 2
    made = postbox("refunds", "create", p["id"], "--amount", 400, "--reason", "goodwill", "--json").json
    assert (made["state"], made["origin"], made["amount"]) == ("requested", "api", 400)
    too_much = postbox("refunds", "create", p["id"], "--amount", 601, "--reason", "goodwill")
    assert (too_much.code, len(too_much.err.strip().splitlines())) == (1, 1)
    assert postbox("refunds", "create", p["id"], "--as", "duplicate", "--reason", "twice").code == 0
    limit = conn.execute("select amount from refund_limits where currency = 'usd'").fetchone()["amount"]
    large = factories.payment(conn, "settled", amount=limit + 1)
    alone = postbox("refunds", "create", large["id"], "--reason", "goodwill")
    assert alone.code == 1 and "takes two people" in alone.err
    rows = conn.execute(
        "select actor_id, reason from audit_log where action = 'refund.created' order by recorded_at"
    ).fetchall()
    assert [tuple(row.values()) for row in rows] == [("ann", "goodwill"), ("ann", "twice")]
    amounts = conn.execute("select amount, reason from refunds order by created_at").fetchall()
    assert [tuple(row.values()) for row in amounts] == [(400, "requested"), (600, "duplicate")]
