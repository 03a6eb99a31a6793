"""`postbox prices`: what a provider charges us and what merchants pay, changed for a reason and told in the audit."""

from __future__ import annotations

from tests import factories
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone
from tests.reconciliation.comparing import flagged, met, next_comparison

CARD = ("prices", "provider", "stripe", "default", "card", "USD")
WHY = ("--reason", "the contract of July")


def test_a_providers_price_is_what_its_fees_are_compared_with(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    p = met(conn)
    assert postbox(*CARD, "--bps", 290, "--fixed", 20, *WHY, "--json").json["compared"] == 0
    assert flagged(conn, p) == ["fee_mismatch"]
    assert postbox(*CARD, "--bps", 290, "--fixed", 30, *WHY, "--json").json["compared"] == 1
    assert (next_comparison(conn, p) or 0) <= 0.5
    assert flagged(conn, p) == []
    [row] = postbox("prices", "list", "--json").json["providers"]
    assert (row["bps"], row["fixed"]) == (290, 30)
    assert postbox(*CARD, "--bps", 1).code == 2


def test_a_schedule_gets_versions_and_a_merchant_pays_by_its_name(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    merchant = factories.merchant(conn)["id"]
    assert postbox("prices", "assign", merchant, "plain", *WHY).code == 1, "there is no such schedule"
    for bps in (200, 250):
        made = postbox(
            "prices", "create", "plain", "--bps", bps, "--fixed", "usd=30", "--fixed", "jpy=40", *WHY, "--json"
        )
        assert made.code == 0, made.err
    assert made.json["id"] == "plain@2"
    assert postbox("prices", "assign", merchant, "plain", *WHY).code == 0
    assert factories.payment(conn, merchant_id=merchant)["fee_schedule"] == "plain@2"
    newest, _ = postbox("prices", "list", "--json").json["merchants"]
    assert (newest["fixed"], newest["merchants"]) == ({"jpy": 40, "usd": 30}, 1)
    assert postbox("prices", "assign", merchant, *WHY).code == 0
    assert factories.payment(conn, merchant_id=merchant)["fee_schedule"] is None
    assert postbox("prices", "create", "plain", "--bps", 1, "--fixed", "30", *WHY).code == 2


def test_every_change_of_a_price_is_audited_with_who_and_why(postbox: Postbox, database: Clone) -> None:
    postbox(*CARD, "--bps", 290, *WHY)
    postbox(*CARD, "--bps", 280, *WHY, "--operator", "ben")
    postbox("prices", "create", "plain", "--bps", 200, "--fixed", "usd=30", *WHY)
    rows = database.connect(admin=True).execute(
        "select action, entity_id, actor_id, reason from audit_log order by recorded_at"
    )
    price, ours = "stripe/default/card/usd", "plain@1"
    assert [tuple(row.values()) for row in rows] == [
        ("provider_price.created", price, "ann", WHY[1]), ("provider_price.changed", price, "ben", WHY[1]),
        ("fee_schedule.created", ours, "ann", WHY[1]), ("fee_schedule.created", ours, "ann", WHY[1]),
    ]  # fmt: skip
