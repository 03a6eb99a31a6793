"""The feed: what merchants see, in an order that concurrent writers cannot get ahead of."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import factories
from tests.gateway.waiting import until

VISIBLE = "select e.id from events e join topics t using (topic) where t.merchant_visible and e.merchant_id = %s"


def read_all(api, cursor=None, **query):
    """Every event there is to see now after the cursor, page by page."""
    seen = []
    while True:
        page = api.get("/v1/events", **query, **({"cursor": cursor} if cursor else {})).get_json()
        seen += page["data"]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            return seen, cursor


def read_until(api, count, **query):
    return until(lambda: (seen := read_all(api, **query)[0]) and len(seen) >= count and seen, f"{count} events")


def test_merchants_see_what_happened_and_nothing_internal(api, payment_in):
    _, name = payment_in("settled")
    seen = read_until(api, 4)
    assert [event["topic"] for event in seen] == [
        "payment.initiated", "payment.provider_submitted", "payment.confirmed", "payment.settled",
    ]  # fmt: skip
    assert {event["payment"] for event in seen} == {name}
    assert [event["data"]["state"] for event in seen] == ["initiated", "submitted", "confirmed", "settled"]
    assert [event["version"] for event in seen] == sorted(event["version"] for event in seen)


def test_a_topic_narrows_the_feed(api, payment_in):
    payment_in("settled")
    read_until(api, 4)
    assert [event["topic"] for event in read_all(api, topic="payment.confirmed")[0]] == ["payment.confirmed"]
    assert read_all(api, topic="payment.submission_started")[0] == []


def test_other_merchants_and_the_other_mode_are_not_in_the_feed(api, login, payment_in):
    payment_in("initiated", livemode=True)
    login().create()
    mine = api.create()
    assert [event["payment"] for event in read_until(api, 1)] == [mine["id"]]


def test_the_cursor_of_an_empty_page_is_the_one_that_was_sent(api):
    api.create()
    read_until(api, 1)
    cursor = read_all(api)[1]
    page = api.get("/v1/events", cursor=cursor).get_json()
    assert (page["data"], page["next_cursor"], page["has_more"]) == ([], cursor, False)


@pytest.mark.parametrize("cursor", ["", "x", "WyJwIl0", "WyJlIiwiMSIsIi0xIiwiMCJd", "A" * 300, "é"])
def test_a_cursor_that_is_none_is_refused(api, cursor):
    answer = api.get("/v1/events", cursor=cursor)
    assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "/cursor")


def test_an_event_that_commits_late_is_not_skipped(api, sql, database):
    """The writer with the lower transaction id commits last; reading on after the last id loses its event."""
    slow, fast = (database.connect(autocommit=False) for _ in range(2))
    slow.execute("select 1")  # opens the transaction that the factory then works in
    late = factories.initiated(slow, api.merchant_id)
    early = factories.initiated(fast, api.merchant_id)
    naive_seen = [row["id"] for row in sql.execute(VISIBLE, [api.merchant_id])]
    seen, cursor = read_all(api)
    assert (len(naive_seen), seen) == (1, [])
    slow.commit()
    naive_next = sql.execute(VISIBLE + " and e.id > all (%s)", [api.merchant_id, naive_seen]).fetchall()
    assert naive_next == [], "what the naive reader loses is what this test is about"
    rest = until(lambda: len(found := read_all(api, cursor)[0]) == 2 and found, "both events")
    assert [event["payment"] for event in rest] == [f"pay_{row['id'].hex}" for row in (late, early)]


def test_a_reader_that_follows_many_writers_loses_nothing(api, sql):
    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(lambda: [api.create()["id"] for _ in range(15)]) for _ in range(6)]
        seen, cursor = [], None

        def follow():
            nonlocal cursor
            page = api.get("/v1/events", limit=7, **({"cursor": cursor} if cursor else {})).get_json()
            seen.extend(page["data"])
            cursor = page["next_cursor"]
            return all(writer.done() for writer in writers) and len(seen) >= 90

        until(follow, "90 events")
    made = {payment for writer in writers for payment in writer.result()}
    assert len(seen) == 90
    assert {event["payment"] for event in seen} == made
