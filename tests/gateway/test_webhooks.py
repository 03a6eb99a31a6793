"""The inbox: believed only when signed, stored once, refused at a bounded price."""

import hashlib
import hmac
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.db import pool as pool_module
from app.db.pool import Timeouts
from app.gateway import create_app, together
from app.gateway.context import EXTENSION
from tests.fixtures.database import WEBHOOK_SECRET
from tests.gateway.waiting import until, until_waiting

PATH = "/webhooks/stripe/default"
EVENT = {
    "id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "api_version": "2026-10-28.endive",
    "created": 1_790_000_000, "livemode": False,
    "data": {"object": {"id": "pi_1", "object": "payment_intent", "status": "succeeded", "metadata": {}}},
}  # fmt: skip


def signed(raw: bytes, *, age: int = 0, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    at = int(time.time()) - age
    signature = hmac.new(secret.encode(), b"%d." % at + raw, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={signature}", "Content-Type": "application/json"}


def send(app, event=EVENT, path=PATH, **how):
    raw = json.dumps(event).encode()
    return app.test_client().post(path, data=raw, headers=signed(raw, **how))


def test_an_event_is_stored_with_its_delivery_in_one_transaction(app, sql):
    raw = json.dumps(EVENT).encode()
    answer = app.test_client().post(PATH, data=raw, headers=signed(raw))
    assert (answer.status_code, answer.get_json()) == (200, {"received": True})
    row = sql.execute("select *, xmin::text as xid from webhooks").fetchone()
    assert (row["provider_event_id"], row["payment_ref"]) == ("evt_1", "pi_1")
    assert row["body_sha256"] == hashlib.sha256(raw).hexdigest()
    delivery = sql.execute("select *, xmin::text as xid from deliveries").fetchone()
    assert (delivery["topic"], delivery["handler"]) == ("webhook.received", "apply_webhook")
    assert delivery["xid"] == row["xid"]


def test_scenario_14_the_same_event_five_times_at_once_is_one_row_and_five_200s(app, sql):
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: send(app), range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len({answer.data for answer in answers}) == 1
    counts = "select (select count(*) from webhooks) as w, (select count(*) from deliveries) as d"
    assert sql.execute(counts).fetchone() == {"w": 1, "d": 1}


@pytest.mark.parametrize("how", [{"secret": "whsec_other"}, {"age": 360}, {"age": -360}])
def test_scenario_20_a_bad_signature_or_age_is_refused_and_leaves_no_job(app, sql, how):
    answer = send(app, **how)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "webhook_refused")
    assert answer.content_type == "application/problem+json"
    counts = "select (select count(*) from webhooks) as w, (select count(*) from procrastinate_jobs) as j"
    assert sql.execute(counts).fetchone() == {"w": 0, "j": 0}


def test_refusals_leave_one_audit_row_per_second_and_are_all_counted(app, sql):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(app, secret="whsec_other"), range(60)))
    assert {answer.status_code for answer in answers} == {400}
    seconds = sql.execute("select count, reason from webhook_rejections").fetchall()
    entries = sql.execute("select from audit_log where action = 'webhook.refused'").fetchall()
    assert sum(row["count"] for row in seconds) == 60
    assert {row["reason"] for row in seconds} == {"bad_signature"}
    assert len(entries) == len(seconds) < 60


def test_an_account_that_there_is_not_is_answered_like_a_bad_signature(app, sql):
    def told(**how):
        answer = send(app, **how)
        own = {"X-Request-Id", "traceparent", "Date"}
        headers = {name: value for name, value in answer.headers if name not in own}
        return answer.status_code, headers, answer.get_json() | {"request_id": None}

    bad = told(secret="whsec_other")
    assert bad[0] == 400
    assert told(path="/webhooks/stripe/another") == bad
    sql.execute("alter table provider_accounts disable trigger all")
    sql.execute("delete from provider_accounts")
    assert told() == told(secret="whsec_other") == bad


def test_a_body_too_large_is_refused_before_it_is_read(app, sql):
    class Untouchable:
        def __getattr__(self, name: str):
            raise AssertionError(f"the body was touched: {name}")

    claimed = {"wsgi.input": Untouchable(), "CONTENT_LENGTH": str(256 * 1024 + 1)}
    answer = app.test_client().post(PATH, environ_overrides=claimed)
    assert (answer.status_code, answer.get_json()["code"]) == (413, "body_too_large")
    assert sql.execute("select from webhook_rejections").fetchall() == []


def test_a_body_as_large_as_allowed_is_read(app):
    padded = EVENT | {"padding": ""}
    padded["padding"] = "x" * (256 * 1024 - len(json.dumps(padded).encode()))
    assert len(json.dumps(padded).encode()) == 256 * 1024
    assert send(app, padded).status_code == 200


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{", b'{"object":"event"}', b"\xff", b"[" * 50_000])
def test_a_signed_body_that_is_no_event_is_refused(app, raw):
    assert app.test_client().post(PATH, data=raw, headers=signed(raw)).status_code == 400


def test_without_a_database_the_provider_is_told_to_come_back(settings, monkeypatch):
    monkeypatch.setattr(pool_module, "POOL_WAIT_SECONDS", 0.2)
    app = create_app(replace(settings, database_url="postgresql://nobody@127.0.0.1:1/none"))
    try:
        answer = send(app)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "database_down")
        assert int(answer.headers["Retry-After"]) > 0
        assert "127.0.0.1" not in answer.text
    finally:
        app.extensions[EXTENSION].database.close()


def test_after_the_database_lost_every_connection_the_next_webhook_is_stored(app, sql):
    send(app)
    sql.execute("""
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
    """)
    assert send(app, EVENT | {"id": "evt_2"}).status_code == 200


def test_a_webhook_that_meets_a_deadlock_is_stored_by_the_next_try(app, sql):
    sql.execute(
        "create sequence tries; create function deadlock_once() returns trigger language plpgsql security definer as"
        " $$ begin if nextval('postbox.tries') = 1 then raise exception 'deadlock' using errcode = '40P01'; end if;"
        " return new; end $$; create trigger webhooks_test before insert on webhooks"
        " for each row execute function deadlock_once()"
    )
    assert send(app).status_code == 200
    assert sql.execute("select last_value, (select count(*) from webhooks) as w from tries").fetchone() == {
        "last_value": 2,
        "w": 1,
    }


def send_at_once(app, database, sql, events, **how):
    """All but the first come while that is being stored or refused, and wait for it; their statuses in order."""
    edge = app.extensions[EXTENSION]
    edge.database.timeouts = Timeouts(statement=61_000, lock=60_000)
    inbox = edge.inboxes["stripe", "default"]
    with ThreadPoolExecutor(len(events)) as pool:
        with database.connect(admin=True).transaction() as held:
            held.connection.execute("lock table webhooks, webhook_rejections in share mode")
            answers = [pool.submit(send, app, events[0], **how)]
            until_waiting(sql, 1)
            answers += [pool.submit(send, app, event, **how) for event in events[1:]]
            together = inbox.refusals if how else inbox.events
            until(lambda: len(together._waiting) == len(events) - 1, "the others to wait")
        return [answer.result().status_code for answer in answers]


def numbered(count):
    return [EVENT | {"id": f"evt_{n}"} for n in range(count)]


STORED = "select provider_event_id as told, xmin::text as xid from webhooks order by id"


def test_what_comes_while_one_is_stored_is_stored_together_each_in_its_own_request(app, database, sql):
    assert send_at_once(app, database, sql, numbered(5)[::-1]) == [200] * 5
    first, *rest = sql.execute(STORED).fetchall()
    assert [row["told"] for row in rest] == ["evt_0", "evt_1", "evt_2", "evt_3"], "in one order, whoever came first"
    assert len({row["xid"] for row in rest} - {first["xid"]}) == 1
    entries = sql.execute(
        "select request_id, correlation_id, causation_id, actor_id from audit_log where action = 'webhook.received'"
    ).fetchall()
    assert len({entry["request_id"] for entry in entries}) == len({entry["causation_id"] for entry in entries}) == 5
    assert {entry["actor_id"] for entry in entries} == {"webhook:stripe/default"}
    assert all(entry["correlation_id"] == entry["causation_id"] for entry in entries)


def test_the_same_event_twice_in_one_transaction_is_one_row_and_two_200s(app, database, sql):
    first, twice = numbered(2)
    assert send_at_once(app, database, sql, [first, twice, twice]) == [200] * 3
    assert [row["told"] for row in sql.execute(STORED).fetchall()] == ["evt_0", "evt_1"]


def test_an_event_that_cannot_be_stored_fails_alone(app, database, sql):
    sql.execute("alter table webhooks add constraint webhooks_test check (provider_event_id <> 'evt_2')")
    assert send_at_once(app, database, sql, numbered(4)) == [200, 200, 500, 200]
    assert {row["told"] for row in sql.execute(STORED).fetchall()} == {"evt_0", "evt_1", "evt_3"}, "each by itself"


def test_more_than_go_together_are_stored_in_turn(app, database, sql, monkeypatch):
    monkeypatch.setattr(together, "MOST", 2)
    assert send_at_once(app, database, sql, numbered(6)) == [200] * 6
    assert sorted(Counter(row["xid"] for row in sql.execute(STORED).fetchall()).values()) == [1, 1, 2, 2]


def test_refusals_that_come_together_are_counted_by_one_transaction(app, database, sql):
    sql.execute(
        "create table counted (xid xid8);"
        " create function count_it() returns trigger language plpgsql security definer as"
        " $$ begin insert into postbox.counted values (pg_current_xact_id()); return null; end $$;"
        " create trigger rejections_test after insert or update on webhook_rejections"
        " for each statement execute function count_it()"
    )
    assert send_at_once(app, database, sql, numbered(9), secret="whsec_other") == [400] * 9
    assert sql.execute("select sum(count)::int as n from webhook_rejections").fetchone() == {"n": 9}
    transactions = sql.execute("select count(distinct xid) as n from counted").fetchone()
    assert transactions == {"n": 2}, "the first, and all that waited for it"
