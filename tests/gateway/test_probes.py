"""Health, readiness and metrics."""

import re
from dataclasses import replace

import pytest

from app.db import pool as pool_module
from app.db.queries import QUERIES
from app.gateway import create_app
from app.gateway.context import EXTENSION
from tests import factories
from tests.gateway.conftest import CARD
from tests.gateway.waiting import until
from tests.ledger import books
from tests.reconciliation import comparing


@pytest.fixture
def without_database(settings, monkeypatch):
    monkeypatch.setattr(pool_module, "POOL_WAIT_SECONDS", 0.2)
    app = create_app(replace(settings, database_url="postgresql://nobody@127.0.0.1:1/none"))
    yield app.test_client()
    app.extensions[EXTENSION].database.close()


def test_a_migrated_database_is_ready(app):
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.get_json()) == (200, {"status": "ready"})


def test_a_database_that_misses_a_file_is_not_ready(app, sql):
    sql.execute("delete from schema_migrations where name = 'grants.sql'")
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json() == {"status": "unready", "reason": "migrations_pending", "pending": ["grants.sql"]}


def test_a_database_without_our_schema_is_not_ready(app, sql):
    sql.execute("drop schema postbox cascade")
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.get_json()["reason"]) == (503, "database_not_migrated")


def test_without_a_database_the_process_is_healthy_and_not_ready(without_database):
    assert without_database.get("/healthz").status_code == 200
    answer = without_database.get("/readyz")
    assert (answer.status_code, answer.get_json()["reason"]) == (503, "database_down")
    assert "postbox_database_up 0.0" in without_database.get("/metrics").text


def test_metrics_tell_requests_and_the_queue(app, api, payment_in, sql):
    api.create()
    api.post("/v1/payments", CARD | {"amount": 1})
    payment_in("outcome_unknown")
    sql.execute("""
        update deliveries set status = 'dead', job_id = null, dead_at = clock_timestamp(), dead_reason = 'failures'
        where ctid = (select min(ctid) from deliveries)
    """)
    text = app.test_client().get("/metrics").text
    assert 'postbox_http_requests_total{method="POST",route="/v1/payments",status="201"}' in text
    assert 'postbox_http_requests_total{method="POST",route="/v1/payments",status="422"}' in text
    assert 'postbox_http_request_seconds_bucket{le="0.1",method="POST",route="/v1/payments"}' in text
    assert "postbox_database_up 1.0" in text
    assert 'postbox_deliveries_pending{handler="submit_payment",lane="remote"} 1.0' in text
    assert 'postbox_deliveries_dead{handler="submit_payment",lane="remote"} 1.0' in text
    assert re.search(r'oldest_seconds\{handler="submit_payment",lane="remote"\} [0-9.e-]+\n', text)
    assert "postbox_payments_outcome_unknown 1.0" in text


def test_metrics_tell_what_does_not_meet_by_type_and_severity(app, sql):
    p = factories.payment(sql, "failed")
    books.fact(sql, p)
    comparing.compare(sql, p)
    text = app.test_client().get("/metrics").text
    assert 'postbox_discrepancies_open{severity="critical",type="money_after_final"} 1.0' in text
    assert 'postbox_discrepancies_overdue{severity="critical",type="money_after_final"} 0.0' in text
    assert 'postbox_discrepancies_unacknowledged{severity="critical",type="money_after_final"} 0.0' in text


def test_metrics_tell_what_merchants_owe_us(app, sql):
    for amount in (700, 5):
        merchant_id = factories.merchant(sql)["id"]
        books.post(sql, merchant_id, *books.credit(merchant_id, -amount))
    well = factories.merchant(sql)["id"]
    books.post(sql, well, *books.credit(well, 10))
    text = app.test_client().get("/metrics").text
    assert 'postbox_merchants_owing{currency="usd"} 2.0' in text
    assert 'postbox_merchants_owed_minor_units{currency="usd"} 705.0' in text


def test_the_queue_is_asked_at_most_every_few_seconds(app, api):
    text = app.test_client().get("/metrics").text
    api.create()
    assert "submit_payment" not in text
    assert "submit_payment" not in app.test_client().get("/metrics").text


def test_a_strangers_method_or_path_makes_no_new_series(app):
    client = app.test_client()
    client.open("/x-unheard-of", method="X-STRANGE")
    client.get("/v1/payments/pay_unheard_of")
    text = client.get("/metrics").text
    assert "unheard" not in text
    assert "X-STRANGE" not in text


def test_a_write_wakes_the_workers_and_a_refusal_does_not(app, api, sql, monkeypatch):
    woken = []
    monkeypatch.setattr(app.extensions[EXTENSION].waker, "wake", lambda: woken.append(1))
    api.post("/v1/payments", CARD | {"amount": 1})
    api.get("/v1/payments")
    assert woken == []
    api.create()
    assert woken == [1]


def test_the_wake_up_reaches_whoever_listens(api, sql, database):
    listener = database.connect(admin=True)
    listener.execute('listen "procrastinate_any_queue_v1"')
    api.create()
    heard = until(lambda: list(listener.notifies(timeout=1, stop_after=1)), "a notification")
    assert heard[0].payload == '{"type": "job_inserted", "job_id": 0}'


def test_a_connection_lost_while_waking_does_not_end_the_waking(app, api, database, monkeypatch):
    waker = app.extensions[EXTENSION].waker
    api.create()
    with monkeypatch.context() as patch:
        patch.setitem(QUERIES, "transactions.wake_workers", "select pg_terminate_backend(pg_backend_pid())")
        waker.wake_once()
    listener = database.connect(admin=True)
    listener.execute('listen "procrastinate_any_queue_v1"')
    waker.wake_once()
    assert list(listener.notifies(timeout=60, stop_after=1))
