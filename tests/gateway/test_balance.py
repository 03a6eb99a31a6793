"""The merchant's balance and what moved it, in an order that concurrent writers cannot get ahead of."""

from dataclasses import replace

import pytest

from app.gateway import create_app
from app.gateway.context import EXTENSION
from tests import factories
from tests.gateway.waiting import until
from tests.ledger.books import credit, handle, post


@pytest.fixture
def credited(sql, payment_in):
    """Takes a payment of the merchant to a state, its journals posted; returns its public id."""

    def make(state: str = "confirmed", **columns):
        row, name = payment_in(state, **columns)
        handle(sql, "credit_merchant", row)
        if state == "settled":
            handle(sql, "release_funds", row)
        return name

    return make


def read_until(api, count, **query):
    return until(lambda: (page := entries(api, **query)) and len(page["data"]) >= count and page, f"{count} entries")


def entries(api, **query):
    return api.get("/v1/balance/entries", **query).get_json()


def test_a_merchant_without_payments_has_nothing(api):
    assert api.get("/v1/balance").get_json() == {"object": "balance", "pending": [], "available": []}
    page = entries(api)
    assert (page["data"], page["next_cursor"], page["has_more"]) == ([], None, False)


def test_what_is_owed_is_positive_by_currency(api, credited):
    credited("confirmed")
    credited("confirmed", currency="jpy", amount=5_000)
    credited("settled", amount=300)
    assert api.get("/v1/balance").get_json() == {
        "object": "balance",
        "pending": [{"currency": "jpy", "amount": 5_000}, {"currency": "usd", "amount": 1_000}],
        "available": [{"currency": "usd", "amount": 300}],
    }


def test_what_the_merchant_owes_us_is_negative(api, sql):
    post(sql, api.merchant_id, *credit(api.merchant_id, -70))
    assert api.get("/v1/balance").get_json()["available"] == [{"currency": "usd", "amount": -70}]


def test_entries_tell_what_moved_which_balance(api, sql, payment_in):
    row, name = payment_in("confirmed")
    handle(sql, "credit_merchant", row)
    handle(sql, "release_funds", factories.advance(sql, row, "settled"))
    data = read_until(api, 3)["data"]
    assert [(e["kind"], e["balance"], e["amount"], e["currency"], e["payment"]) for e in data] == [
        ("payment_credited", "pending", 1_000, "usd", name),
        ("funds_released", "pending", -1_000, "usd", name),
        ("funds_released", "available", 1_000, "usd", name),
    ]
    assert len({e["id"] for e in data}) == 3
    assert all(e["id"].startswith("le_") and e["created_at"].endswith("Z") for e in data)


def test_another_merchant_sees_neither_balance_nor_entries(api, login, credited):
    credited()
    read_until(api, 1)
    other = login()
    assert other.get("/v1/balance").get_json()["pending"] == []
    assert entries(other)["data"] == []


def test_a_key_of_the_other_mode_is_refused(api, settings):
    live = create_app(replace(settings, livemode=True))
    try:
        other = replace(api, client=live.test_client())
        for path in ("/v1/balance", "/v1/balance/entries"):
            answer = other.get(path)
            assert (answer.status_code, answer.get_json()["code"]) == (403, "wrong_mode")
    finally:
        live.extensions[EXTENSION].waker.close()
        live.extensions[EXTENSION].database.close()


def test_pages_follow_each_other_without_gap_or_repeat(api, credited):
    for _ in range(3):
        credited("settled")
    whole = [e["id"] for e in read_until(api, 3)["data"]]
    seen, cursor = [], None
    while True:
        page = entries(api, limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [e["id"] for e in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert seen == whole


def test_an_entry_that_commits_late_is_not_skipped(api, database):
    """The writer with the lower transaction id commits last."""
    post(database.connect(admin=True), api.merchant_id, *credit(api.merchant_id, 9))  # opens the accounts
    cursor = read_until(api, 1)["next_cursor"]
    slow, fast = (database.connect(admin=True, autocommit=False) for _ in range(2))
    slow.execute("select pg_current_xact_id()")
    post(slow, api.merchant_id, *credit(api.merchant_id, 1, "eur"), close=False)
    post(fast, api.merchant_id, *credit(api.merchant_id, 2))
    fast.commit()
    assert entries(api, cursor=cursor)["data"] == [], "what may still be overtaken is not shown"
    with factories.acting(slow, "worker"):
        slow.execute("select ledger_close()")
    slow.commit()
    assert [e["amount"] for e in read_until(api, 2, cursor=cursor)["data"]] == [1, 2]


@pytest.mark.parametrize("cursor", ["", "x", "WyJlIiwiMSIsIjEiLCIwIl0", "A" * 300])
def test_a_cursor_that_is_none_is_refused(api, cursor):
    answer = api.get("/v1/balance/entries", cursor=cursor)
    assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "/cursor")


def test_the_cursor_of_another_list_is_refused(api):
    api.create()
    events = until(lambda: api.get("/v1/events").get_json()["next_cursor"], "an event")
    assert api.get("/v1/balance/entries", cursor=events).status_code == 422
