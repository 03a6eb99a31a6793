"""Payments whose three books meet, and what a comparison says about them."""

from __future__ import annotations

import uuid
from typing import Any

from app.config import PLATFORM_MERCHANT_ID
from tests import factories
from tests.factories import Connection, Row
from tests.ledger import books

OPEN = "select * from discrepancies where closed_at is null and merchant_id = %s order by first_seen_at, id"


def met(conn: Connection, state: str = "settled", *, available_on: str = "tomorrow", **columns: Any) -> Row:
    """A payment in `state` with its charge line, booked on both sides; as the workers leave it."""
    p = factories.payment(conn, state, **columns)
    line = books.fact(conn, p, kind="charge", source_ref=p["latest_charge_ref"], available_on=available_on)
    books.handle(conn, "credit_merchant", p)
    if p["settled_at"]:
        books.make_available(conn, line)
        books.handle(conn, "release_funds", p)
    books.handle_facts(conn)
    return p


def line(conn: Connection, p: Row, kind: str, gross: int, **columns: Any) -> Row:
    """One more money line of the provider about the payment, booked."""
    made = books.fact(conn, p, kind=kind, gross=gross, **{"fee": 0, "source_ref": f"x_{uuid.uuid4().hex}"} | columns)
    books.handle_facts(conn)
    return made


def payout(conn: Connection, *nets: int, **columns: Any) -> Row:
    """A payout on its way, and the lines of these net amounts that it is made of; read, unless there are none."""
    row = {
        "merchant_id": PLATFORM_MERCHANT_ID, "provider": "stripe", "account": "default",
        "ref": f"po_{uuid.uuid4().hex}",
        "status": "in_transit", "currency": "usd", "amount": sum(nets) or 1_000, "created_at_provider": "now",
        "arrives_at": "tomorrow", "automatic": True, "lines_read_at": "now" if nets else None,
    } | columns  # fmt: skip
    with factories.acting(conn, "worker"):
        made = factories._insert(conn, "payouts", row)
    for net in nets:
        books.fact(conn, None, gross=net, fee=0, payout_ref=made["ref"], kind="adjustment")
    return made


def compare(conn: Connection, *payments: Row, scale: float = 1.0) -> Row:
    """Compare the payments as the sweep does; how many discrepancies were opened and closed."""
    with factories.acting(conn, "reconciler"):
        row = conn.execute(
            "select opened, closed from reconcile(%s::uuid[], %s::uuid[], %s, 'realtime')",
            [[p["merchant_id"] for p in payments], [p["id"] for p in payments], scale],
        ).fetchone()
    assert row is not None
    return row


def flagged(conn: Connection, p: Row, *, scale: float = 1.0) -> list[str]:
    """The types of what is open about the payment after a comparison. A scale of 0 ends every wait at once."""
    compare(conn, p, scale=scale)
    return [row["type"] for row in conn.execute(OPEN, [p["merchant_id"]])]


def opened(conn: Connection, p: Row) -> list[Row]:
    """What is open about the payment's merchant, oldest first."""
    return conn.execute(OPEN, [p["merchant_id"]]).fetchall()


def next_comparison(conn: Connection, p: Row) -> float | None:
    """In how many seconds the payment is compared again; None: never."""
    row = conn.execute(
        "select extract(epoch from due_at - clock_timestamp())::float8 as seconds from reconcile_due"
        " where payment_id = %(id)s",
        p,
    ).fetchone()
    return row and row["seconds"]
