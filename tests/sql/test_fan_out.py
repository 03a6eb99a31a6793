"""An event becomes one delivery and one job per subscribed handler, in the transaction that made it true."""

from __future__ import annotations

import psycopg
import pytest

from tests import factories
from tests.factories import Connection, Row
from tests.fixtures.database import Clone

DELIVERED = """
select e.topic, d.handler, d.lane, d.status, d.payment_id, j.queue_name, j.task_name, j.args, j.lock, j.queueing_lock,
       j.status::text as job_status, j.scheduled_at, e.id as event_id
from events e join deliveries d on d.merchant_id = e.merchant_id and d.event_id = e.id
left join procrastinate_jobs j on j.id = d.job_id
where e.payment_id = %s or e.webhook_id = %s order by e.id, d.handler
"""


def delivered(conn: Connection, row: Row) -> list[Row]:
    return conn.execute(DELIVERED, [row["id"], row["id"]]).fetchall()


def test_every_event_has_the_deliveries_its_subscriptions_ask_for(conn: Connection) -> None:
    p = factories.payment(conn, "settled")
    wanted = conn.execute(
        "select e.topic, s.handler, s.lane from events e join subscriptions s on s.topic = e.topic"
        " where e.payment_id = %s order by e.id, s.handler",
        [p["id"]],
    ).fetchall()
    found = delivered(conn, p)
    assert [{k: row[k] for k in ("topic", "handler", "lane")} for row in found] == wanted
    assert {"payment.initiated", "payment.confirmed"} <= {row["topic"] for row in found}


def test_a_job_says_which_delivery_and_nothing_else(conn: Connection) -> None:
    p = factories.payment(conn)
    (row,) = delivered(conn, p)
    assert row["args"] == {
        "merchant_id": str(p["merchant_id"]), "event_id": str(row["event_id"]), "handler": "submit_payment",
    }  # fmt: skip
    assert (row["queue_name"], row["task_name"], row["job_status"]) == ("remote", "postbox.remote", "todo")
    assert (row["lock"], row["queueing_lock"], row["scheduled_at"]) == (None, None, None)


def test_a_second_subscriber_gets_its_own_delivery(conn: Connection) -> None:
    conn.execute("insert into subscriptions values ('payment.initiated', 'notify', 'remote')")
    assert [row["handler"] for row in delivered(conn, factories.payment(conn))] == ["notify", "submit_payment"]


def test_a_stored_webhook_is_delivered(conn: Connection) -> None:
    assert [row["handler"] for row in delivered(conn, factories.webhook(conn))] == ["apply_webhook"]


def test_a_rollback_leaves_no_event_no_delivery_and_no_job(database: Clone) -> None:
    counts = (
        "select (select count(*) from events) + (select count(*) from deliveries) + (select count(*) from audit_log)"
        " + (select count(*) from payments) + (select count(*) from procrastinate_jobs) as n"
    )
    conn, admin = database.connect(), database.connect(admin=True)
    merchant_id = factories.merchant(conn)["id"]
    before = admin.execute(counts).fetchone()
    with conn.transaction(force_rollback=True):
        factories.payment(conn, "settled", merchant_id=merchant_id)
    assert admin.execute(counts).fetchone() == before


def test_accepting_a_payment_notifies_nobody(database: Clone) -> None:
    """NOTIFY would serialise every commit of the cluster."""
    conn, listener = database.connect(), database.connect(admin=True)
    listener.execute("listen procrastinate_any_queue_v1")
    listener.execute('listen "procrastinate_queue_v1#remote"')
    factories.payment(conn)
    assert list(listener.notifies(timeout=0.2)) == []


def test_a_delivery_is_never_deleted(conn: Connection) -> None:
    factories.payment(conn)
    factories.act(conn, "system")
    with pytest.raises(psycopg.Error) as refused:
        conn.execute("delete from deliveries")
    assert refused.value.sqlstate == "PB004"
