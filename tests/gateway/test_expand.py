"""Refunds and disputes told along with payments: as their own lists tell them, bounded, by one query for each name."""

import pytest

from app.db import Tx
from app.services.listing import NEWEST
from tests import factories


@pytest.fixture
def paid(payment_in, sql):
    """A payment with a dispute and more refunds than are told along; its public id."""
    row, name = payment_in("confirmed", amount=10_000)
    for _ in range(NEWEST + 2):
        factories.refund(sql, row, amount=100)
    factories.dispute(sql, row, amount=10_000)
    return name


def test_a_payment_alone_and_in_a_list_tells_its_newest_children_as_their_own_lists_do(api, paid, payment_in):
    payment_in("confirmed")
    alone = api.get(f"/v1/payments/{paid}", expand="refunds,disputes").get_json()
    without, listed = api.get("/v1/payments", expand="disputes,refunds").get_json()["data"]
    assert listed == alone
    assert alone["refunds"] == api.get("/v1/refunds", payment=paid, limit=NEWEST).get_json()
    assert alone["disputes"] == api.get("/v1/disputes", payment=paid).get_json()
    assert without["refunds"] == without["disputes"] == {"object": "list", "data": [], "next_cursor": None}
    rest = api.get("/v1/refunds", payment=paid, cursor=alone["refunds"]["next_cursor"]).get_json()["data"]
    assert len(alone["refunds"]["data"] + rest) == NEWEST + 2


def test_only_what_is_named_is_there(api, paid):
    [plain] = api.get("/v1/payments").get_json()["data"]
    [told] = api.get("/v1/payments", expand="disputes").get_json()["data"]
    assert not {"history", "refunds", "disputes"} & set(plain)
    assert set(told) - set(plain) == {"disputes"}


def test_a_page_takes_as_many_queries_as_a_single_payment(api, payment_in, monkeypatch):
    for _ in range(5):
        _, name = payment_in("confirmed")
    counts, run = [], Tx.all
    monkeypatch.setattr(Tx, "all", lambda tx, query, /, **params: counts.append(query) or run(tx, query, **params))
    for path in (f"/v1/payments/{name}", "/v1/payments"):
        counts.clear()
        assert api.get(path, expand="refunds,disputes").status_code == 200
        assert [query for query in counts if query.endswith("newest_of")] == ["refunds.newest_of", "disputes.newest_of"]


def test_it_takes_the_scope_of_what_is_told_along(login, sql):
    api = login(scopes=["payments:read", "disputes:read"])
    factories.payment(sql, "confirmed", merchant_id=api.merchant_id)
    assert api.get("/v1/payments", expand="disputes").status_code == 200
    refused = api.get("/v1/payments", expand="disputes,refunds")
    assert (refused.status_code, refused.get_json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize("expand", ["", "history", "refunds,", "refunds,everything", "refunds," * 50])
def test_what_a_list_cannot_expand_is_refused(api, expand):
    answer = api.get("/v1/payments", expand=expand)
    assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "/expand")


def test_children_of_another_merchant_are_never_told(login, api, sql, paid):
    foreign = login()
    row = factories.payment(sql, "confirmed", merchant_id=foreign.merchant_id)
    factories.refund(sql, row, amount=100)
    shown = api.get("/v1/payments", expand="refunds").text
    assert row["id"].hex not in shown
    [seen] = foreign.get("/v1/payments", expand="refunds").get_json()["data"]
    assert [refund["payment"] for refund in seen["refunds"]["data"]] == [f"pay_{row['id'].hex}"]
