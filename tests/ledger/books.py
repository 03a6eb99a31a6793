"""Writes in the books as the worker does, and reads them as people do: {account: {currency: amount}}."""

from __future__ import annotations

import uuid
from typing import Any

from psycopg.types.json import Jsonb

from app.config import PLATFORM_MERCHANT_ID
from app.db import Tx
from app.services import ledger
from tests import factories
from tests.factories import Connection, Row

POST = "select ledger_post(%(merchant_id)s, %(kind)s, %(source_type)s, %(source_id)s, %(payment_id)s, %(lines)s) as id"

Line = tuple[str, str, int]


def posting(merchant_id: Any, *lines: Line, source: object = None, payment_id: object = None, **more: str) -> Row:
    """The parameters of one `ledger_post`; a source of its own unless one is given."""
    named = [{"account": account, "currency": currency, "amount": amount} for account, currency, amount in lines]
    return {
        "merchant_id": merchant_id, "kind": "fact_recorded", "source_type": "test", "payment_id": payment_id,
        "source_id": str(source or uuid.uuid4()), "lines": Jsonb(named),
    } | more  # fmt: skip


def post(conn: Connection, merchant_id: Any, *lines: Line, close: bool = True, **more: Any) -> uuid.UUID | None:
    """Post one entry as the worker, and close its transaction's balances; the entry, None when it was there."""
    with factories.acting(conn, "worker"):
        row = conn.execute(POST, posting(merchant_id, *lines, **more)).fetchone()
        if close:
            conn.execute("select ledger_close()")
    assert row is not None
    return row["id"]  # type: ignore[no-any-return]


def credit(merchant_id: Any, amount: int, currency: str = "usd") -> tuple[Line, Line]:
    """Lines that owe the merchant so much."""
    return ("clearing:stripe", currency, amount), ("merchant:available", currency, -amount)


def handle(conn: Connection, handler: str, p: Row) -> None:
    """What `credit_merchant` or `release_funds` does for a payment, in its transaction."""
    with factories.acting(conn, "worker", actor_id=handler):
        tx = Tx(conn)
        getattr(ledger, handler)(tx, p["merchant_id"], p["id"])
        ledger.close(tx)


def handle_facts(conn: Connection, *, newest_first: bool = False) -> None:
    """What `post_fact` does for every fact event there is, in order; again and again changes nothing."""
    events = conn.execute("select merchant_id, id from events where topic like 'fact.%' order by id").fetchall()
    for row in reversed(events) if newest_first else events:
        with factories.acting(conn, "worker", actor_id="post_fact"):
            tx = Tx(conn)
            ledger.post_fact(tx, row["merchant_id"], row["id"])
            ledger.close(tx)


CHILD_EVENTS = {
    "post_refund": ["refund.requested", "refund.booked", "refund.succeeded", "refund.failed", "refund.canceled"],
    "post_dispute": ["dispute.funds_withdrawn", "dispute.funds_reinstated"],
}


def handle_children(conn: Connection, p: Row, *, newest_first: bool = False) -> None:
    """What `post_refund` and `post_dispute` do for every event of the payment there is, in order; again is nothing."""
    for handler, topics in CHILD_EVENTS.items():
        events = conn.execute(
            "select merchant_id, id from events where payment_id = %s and topic = any(%s) order by id",
            [p["id"], topics],
        ).fetchall()
        for row in reversed(events) if newest_first else events:
            with factories.acting(conn, "worker", actor_id=handler):
                tx = Tx(conn)
                getattr(ledger, handler)(tx, row["merchant_id"], row["id"])
                ledger.close(tx)


def fact(conn: Connection, p: Row | None, **columns: Any) -> Row:
    """A money line of the provider: of this payment, or of nobody's we know."""
    row = {
        "merchant_id": p["merchant_id"] if p else PLATFORM_MERCHANT_ID, "payment_id": p["id"] if p else None,
        "provider": "stripe", "account": "default", "ref": f"txn_{uuid.uuid4().hex}", "kind": "charge",
        "currency": p["currency"] if p else "usd", "gross": p["amount_captured"] or p["amount"] if p else 1_000,
        "fee": 59, "status": "pending", "available_on": "tomorrow", "created_at_provider": "now",
    } | columns  # fmt: skip
    row |= {"net": row["gross"] - row["fee"]}
    with factories.acting(conn, "worker"):
        return factories._insert(conn, "provider_transactions", row)


def make_available(conn: Connection, line: Row) -> None:
    """The provider turns the line available."""
    with factories.acting(conn, "worker"):
        conn.execute("update provider_transactions set status = 'available' where ref = %(ref)s", line)


def books(conn: Connection, **where: Any) -> dict[str, dict[str, int]]:
    """What every account holds that is not zero; `payment_id` or `merchant_id` (of the entry) narrows it."""
    filters = " and ".join(f"l.{name} = %({name})s" for name in where) or "true"
    found: dict[str, dict[str, int]] = {}
    for row in conn.execute(
        "select a.code, l.currency, sum(l.amount)::bigint as amount from ledger_lines l"
        " join ledger_accounts a on a.id = l.account_id where " + filters + " group by 1, 2 having sum(l.amount) <> 0",
        where,
    ):
        found.setdefault(row["code"], {})[row["currency"]] = row["amount"]
    return found


def balances(conn: Connection, merchant_id: Any) -> dict[tuple[str, str], int]:
    """The balance rows of a merchant that are not zero, by (code, currency)."""
    rows = conn.execute(
        "select a.code, b.currency, b.amount from ledger_balances b join ledger_accounts a on a.id = b.account_id"
        " where b.merchant_id = %s and b.amount <> 0",
        [merchant_id],
    )
    return {(row["code"], row["currency"]): row["amount"] for row in rows}


def drift(conn: Connection) -> list[Row]:
    """Balance rows that are not the sum of their lines."""
    return conn.execute(
        "select b.account_id, b.currency, b.amount, s.amount as lines from ledger_balances b full join ("
        " select l.account_id, l.currency, sum(l.amount)::bigint as amount from ledger_lines l"
        " where l.account_merchant_id <> '00000000-0000-0000-0000-000000000000' group by 1, 2) s"
        " on s.account_id = b.account_id and s.currency = b.currency where b.amount is distinct from s.amount"
    ).fetchall()
