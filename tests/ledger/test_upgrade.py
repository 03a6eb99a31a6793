"""A database that had payments before it had books: the migration owes the new handlers what happened before."""

from __future__ import annotations

from app.config import SQL_DIR
from tests import factories
from tests.factories import Connection
from tests.ledger.books import books, fact, handle, handle_facts, make_available

OURS = "('credit_merchant', 'release_funds', 'post_fact')"


def backfill(name: str = "0008_ledger", since: str = "-- In a database that already has payments") -> str:
    """The end of a migration: what it does to rows that are there already."""
    text = (SQL_DIR / "migrations" / f"{name}.sql").read_text()
    return text[text.index(since) :]


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


def test_a_fee_that_was_booked_to_suspense_or_clearing_is_moved_to_what_it_is_once(conn: Connection) -> None:
    # as it was before the migration: nobody understood this kind of line
    conn.execute("delete from ledger_counters where fact_kind = 'fee'")
    p = factories.payment(conn, "confirmed")
    fact(conn, None, kind="fee", gross=-500, fee=0)
    fact(conn, p, kind="fee", gross=25, fee=0)
    handle_facts(conn)
    assert books(conn) == {
        "stripe:pending": {"usd": -475}, "suspense:stripe": {"usd": 500}, "clearing:stripe": {"usd": -25},
    }  # fmt: skip
    conn.execute("insert into ledger_counters values ('stripe', 'fee', 'provider_fees')")
    for _ in range(2):
        conn.execute(backfill("0037_provider_fee_lines", "-- Those that were booked before"))
        handle_facts(conn)
    assert books(conn) == {"stripe:pending": {"usd": -475}, "provider_fees": {"usd": 475}}
