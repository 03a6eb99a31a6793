"""Makes payments with a whole life behind them by the product's statements: posted, confirmed, settled, booked."""

from __future__ import annotations

import json
import uuid
from typing import Any

from app.db import Tx
from tests import factories
from tests.bench import pgbench
from tests.bench.arena import Arena, check
from tests.bench.life import script_of_one_payment
from tests.fixtures.database import KEY_PEPPER, Clone, Connection
from tests.ledger import books

FINISH = "update deliveries set status = 'done', done_at = clock_timestamp(), job_id = null where status = 'pending'"
# About what Stripe tells of a payment intent, of which we keep all.
TOLD = {"filler": "x" * 500, "description": "x" * 500}


def live(arena: Arena, database: Clone, *, merchants: int, each: int) -> None:
    """Settled payments of `merchants` merchants: keys, calls, webhooks, journals and all; `postbox check` is clean."""
    conn = database.connect(admin=True)
    for n in range(merchants):
        key = factories.api_key(conn, factories.merchant(conn, f"M{n}")["id"], pepper=KEY_PEPPER)
        script = script_of_one_payment(key)
        pgbench.run(arena, database, script, clients=1, transactions=each, name="lives", role="postbox_api")
    payments = conn.execute("select * from payments where state = 'confirmed' order by merchant_id, id").fetchall()
    assert len(payments) == merchants * each, "every payment of the script is confirmed"
    books.handle_facts(conn)
    for payment in payments:
        _settle(conn, payment)
    books.handle_facts(conn)
    for payment in payments:
        books.handle(conn, "release_funds", payment)
        _tell(conn, payment)
    conn.execute(FINISH)
    conn.execute("delete from procrastinate_jobs")
    check(database)
    conn.close()


def _settle(conn: Connection, payment: dict[str, Any]) -> None:
    """Credited, and its money available: the clock has nothing more to ask."""
    ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}
    books.handle(conn, "credit_merchant", payment)
    with factories.acting(conn, "worker", actor_id="watch_settlement"):
        conn.execute("update provider_transactions set status = 'available' where payment_id = %(payment_id)s", ids)
        Tx(conn).run(
            "payments.close_observation", **ids, settles=True, provider_ref=None, latest_charge_ref=None, asked_at=None,
            method_last4=None, rank=60, observe="never", wait=0.0,
        )  # fmt: skip


def _tell(conn: Connection, payment: dict[str, Any]) -> None:
    """The provider's event about it, stored as the gateway stores one."""
    event = {
        "provider_event_id": f"evt_{uuid.uuid4().hex}", "type": "payment_intent.succeeded",
        "object_id": payment["provider_ref"], "payment_ref": payment["provider_ref"], "livemode": False,
        "api_version": "2026-10-28.endive", "received_by": "webhook", "created_at_provider": "now", "payload": TOLD,
        "body_sha256": "0" * 64,
    }  # fmt: skip
    with factories.acting(conn, "api", actor_id="webhook/stripe"):
        Tx(conn).one("webhooks.store", provider="stripe", account="default", events=json.dumps([event]))
