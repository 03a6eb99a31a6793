"""A webhook that never comes: the clock says when it is too late, whatever asking found; it closes when it comes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.db import Database, Tx
from app.model.actor import Actor, ActorType, Role
from app.model.webhook_event import WebhookEvent
from app.services import webhooks
from tests import factories
from tests.factories import Connection, Row
from tests.fixtures import told as fixture
from tests.fixtures.database import Clone
from tests.fixtures.worker import Hand
from tests.gateway.waiting import until_waiting
from tests.reconciliation.comparing import compare, flagged, met, next_comparison, opened

AT_ONCE = 0.0
HOUR = 3_600


def event(p: Row, *, ago: float = 0.0) -> WebhookEvent:
    """Something the provider says happened to the payment so many seconds ago."""
    return fixture.told(
        event_id=f"evt_{p['id'].hex}", type="charge.refunded", object_id="ch_1", object_type="charge",
        payment_ref=p["provider_ref"], created_at=datetime.now(UTC) - timedelta(seconds=ago),
    )  # fmt: skip


def polled(conn: Connection, told: WebhookEvent) -> int:
    """The hourly reading finds it; how many events were new."""
    with factories.acting(conn, "reconciler"):
        return webhooks.store_polled(Tx(conn), [told])


def told_by_webhook(conn: Connection, told: WebhookEvent) -> bool:
    """Its webhook comes; whether that was news."""
    with factories.acting(conn, "api"):
        return webhooks.store(Tx(conn), told, body_sha256="0" * 64)


def awaited(conn: Connection) -> list[Row]:
    return conn.execute("select provider_event_id, over_by from awaited_webhooks order by happened_at").fetchall()


def test_an_event_that_asking_found_first_is_looked_at_an_hour_after_it_happened(conn: Connection) -> None:
    p = met(conn)
    assert polled(conn, event(p, ago=600)) == 1
    assert (next_comparison(conn, p) or 0) <= 0.5, "its payment is compared at once, which sets the deadline"
    assert flagged(conn, p) == []
    assert HOUR - 660 < (next_comparison(conn, p) or 0) <= HOUR - 600


def test_one_whose_hour_is_over_when_it_is_found_is_flagged_at_once(conn: Connection) -> None:
    p = met(conn)
    polled(conn, event(p, ago=HOUR + 1))
    assert flagged(conn, p) == ["webhook_missing"]
    [found] = opened(conn, p)
    assert (found["ref"], found["severity"], found["payment_id"]) == (f"evt_{p['id'].hex}", "medium", p["id"])


def test_it_closes_by_itself_when_the_webhook_comes_late_however_often_it_comes(conn: Connection) -> None:
    p = met(conn)
    told = event(p, ago=HOUR + 1)
    polled(conn, told)
    assert flagged(conn, p) == ["webhook_missing"]
    assert [told_by_webhook(conn, told) for _ in range(3)] == [False] * 3
    assert (next_comparison(conn, p) or 0) <= 0.5
    assert compare(conn, p) == {"opened": 0, "closed": 1}
    assert awaited(conn) == [{"provider_event_id": told.event_id, "over_by": "webhook"}]
    late = conn.execute("select actor_type from audit_log where action = 'webhook.awaited_no_more'").fetchall()
    assert late == [{"actor_type": "api"}]


@pytest.mark.parametrize("first", ["webhook", "poll"])
def test_a_webhook_that_comes_first_or_within_the_hour_leaves_nothing_to_flag(conn: Connection, first: str) -> None:
    p = met(conn)
    told = event(p)
    for come in (told_by_webhook, polled) if first == "webhook" else (polled, told_by_webhook):
        come(conn, told)
    assert flagged(conn, p, scale=AT_ONCE) == []
    assert [row["over_by"] for row in awaited(conn)] == ([] if first == "webhook" else ["webhook"])


def test_it_closes_when_a_person_has_the_event_handled_again(conn: Connection) -> None:
    p = met(conn)
    polled(conn, event(p, ago=HOUR + 1))
    assert flagged(conn, p) == ["webhook_missing"]
    conn.execute("update deliveries set status = 'done', done_at = now(), job_id = null where status = 'pending'")
    with factories.acting(conn, "operator"):
        conn.execute("select replay_webhook(merchant_id, id) from webhooks")
    assert compare(conn, p) == {"opened": 0, "closed": 1}
    assert [row["over_by"] for row in awaited(conn)] == ["replay"]


def test_an_event_of_a_stranger_is_awaited_and_is_nobodys_discrepancy(conn: Connection) -> None:
    p = met(conn)
    polled(conn, replace(event(p, ago=HOUR + 1), payment_ref="pi_of_a_stranger"))
    assert flagged(conn, p, scale=AT_ONCE) == []


def test_a_webhook_that_comes_while_the_reading_is_being_stored_is_not_missed(database: Clone) -> None:
    conn, other = database.connect(admin=True), database.connect(admin=True, autocommit=False)
    p = met(conn)
    told = event(p, ago=HOUR + 1)
    other.execute("begin")
    polled(other, told)
    heard = threading.Thread(target=told_by_webhook, args=(conn, told))
    heard.start()
    watch = database.connect(admin=True)
    waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    while not watch.execute(waiting).fetchall():
        assert heard.is_alive(), "it waits for what is not committed yet"
    other.commit()
    heard.join()
    assert flagged(conn, p) == []


def heard_together(db: Database, *told: WebhookEvent) -> list[bool]:
    """Their webhooks come at once, in this order; whether each was news."""
    actor = Actor(ActorType.API, "webhook:stripe/default", Role.API)
    ids = {"body_sha256": "0" * 64, "trace_id": "t"}
    events = [webhooks.received(one, request_id=one.event_id, **ids) for one in told]
    rows = webhooks.receive(db, actor, provider="stripe", account="default", events=events)
    return [webhooks.is_new(row) for row in rows]


@pytest.mark.parametrize("held", ["payments", "payments, reconcile_due"])
def test_one_whose_payment_somebody_holds_waits_for_nobody_and_closes_once_that_is_free(
    database: Clone, db: Database, held: str
) -> None:
    conn, holder = database.connect(admin=True), database.connect(admin=True, autocommit=False)
    p = met(conn)
    late, new = event(p, ago=HOUR + 1), replace(event(p), event_id="evt_new")
    polled(conn, late)
    assert flagged(conn, p) == ["webhook_missing"]
    holder.execute(f"select from {held} for update")
    db.timeouts = replace(db.timeouts, lock=50)
    assert heard_together(db, late, new) == [False, True]
    assert [row["over_by"] for row in awaited(conn)] == ["webhook"]
    who = "select request_id from audit_log where action = 'webhook.awaited_no_more'"
    assert conn.execute(who).fetchall() == [{"request_id": late.event_id}]
    holder.rollback()
    assert ((next_comparison(conn, p) or 0) <= 0.5) == (held == "payments"), "else at its own date"
    assert compare(conn, p) == {"opened": 0, "closed": 1}


def test_those_that_come_late_together_take_payments_in_the_one_order(database: Clone, db: Database) -> None:
    """Who holds the date of the first finds the second free, though its webhook is the first."""
    conn, holder = database.connect(admin=True), database.connect(admin=True, autocommit=False)
    first, second = sorted((met(conn), met(conn)), key=lambda p: (p["merchant_id"], p["id"]))
    for p in (first, second):
        polled(conn, event(p))
        assert flagged(conn, p) == []
    holder.execute("select from reconcile_due where payment_id = %(id)s for update", first)
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(heard_together, db, event(second), event(first))
        until_waiting(conn, 1)
        holder.execute("select from payments where id = %(id)s for no key update nowait", second)
        holder.rollback()
        assert heard.result() == [False, False]


def test_those_that_come_late_take_no_payment_before_the_others_are_stored(database: Clone, db: Database) -> None:
    """Who stores what asking found holds that, and waits for its payments."""
    conn, other = database.connect(admin=True), database.connect(admin=True, autocommit=False)
    p = met(conn)
    late, new = event(p), replace(event(p), event_id="evt_new")
    polled(conn, late)
    factories.act(other, "reconciler")
    with ThreadPoolExecutor(1) as pool:
        webhooks.store(Tx(other), new, body_sha256="0" * 64, received_by="poll")
        heard = pool.submit(heard_together, db, late, new)
        until_waiting(conn, 1)
        other.execute("select from payments where id = %(id)s for no key update nowait", p)
        other.rollback()
        assert heard.result() == [False, True]


def test_the_clock_flags_it_within_seconds_though_all_it_told_was_applied_long_ago(hand: Hand) -> None:
    p = factories.payment(hand.connection, method_token="pm_card_visa")
    hand.settle(p["id"])
    hour = 1.5
    hand.retime(silence=hour / HOUR)
    found: Any = hand.connection.execute("select * from payments where id = %(id)s", p).fetchone()
    polled(hand.connection, event(found))
    hand.until(lambda: not hand.open_deliveries())
    assert opened(hand.connection, p) == []
    [late] = hand.until(lambda: opened(hand.connection, p))
    assert (late["type"], late["detected_by"]) == ("webhook_missing", "realtime")
    assert 0 <= (late["first_seen_at"] - late["evidence_at"]).total_seconds() < 5
    assert (late["evidence_at"] - awaited_since(hand)).total_seconds() == hour
    told_by_webhook(hand.connection, event(found))
    hand.until(lambda: not opened(hand.connection, p))


def awaited_since(hand: Hand) -> datetime:
    row = hand.connection.execute("select happened_at from awaited_webhooks").fetchone()
    assert row is not None
    return row["happened_at"]  # type: ignore[no-any-return]
