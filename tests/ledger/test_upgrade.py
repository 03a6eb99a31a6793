"""A database that had payments before it had books: the migration owes the new handlers what happened before."""

from __future__ import annotations

from app.config import SQL_DIR
from tests import factories
from tests.factories import Connection
from tests.ledger.books import books, fact, handle, handle_facts, make_available

OURS = "('credit_merchant', 'release_funds', 'post_fact')"


def backfill() -> str:
    """The end of the migration: what it does to rows that are there already."""
    text = (SQL_DIR / "migrations" / "0008_ledger.sql").read_text()
    return text[text.index("-- In a database that already has payments") :]


def test_what_was_confirmed_settled_and_stored_before_is_booked_once(conn: Connection) -> None:
    p = factories.payment(conn, "settled")
    other = factories.payment(conn, "submitted")
    # as it was before the migration: no such subscription, no event of a fact
    conn.execute("alter table provider_transactions disable trigger provider_transactions_700_event")
    make_available(conn, fact(conn, p))
    conn.execute("alter table deliveries disable trigger user")
    conn.execute(f"delete from deliveries where handler in {OURS}")

    conn.execute(backfill())

    owed = conn.execute(
        f"select payment_id, handler, topic from deliveries where handler in {OURS} order by handler"
    ).fetchall()
    assert [(row["payment_id"], row["handler"], row["topic"]) for row in owed] == [
        (p["id"], "credit_merchant", "payment.confirmed"),
        (p["id"], "post_fact", "fact.recorded"),
        (p["id"], "release_funds", "payment.settled"),
    ]
    for handler in ("credit_merchant", "release_funds"):
        handle(conn, handler, p)
    handle_facts(conn)
    assert books(conn, payment_id=p["id"]) == {
        "stripe:available": {"usd": 941}, "provider_fees": {"usd": 59}, "merchant:available": {"usd": -1_000},
    }  # fmt: skip
    assert books(conn, payment_id=other["id"]) == {}
