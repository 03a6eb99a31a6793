"""Who compares when: whatever happens to a payment, within a second; and silence, by the worker's own clock."""

from __future__ import annotations

import threading
from typing import Any

from app.db import Tx
from app.model.actor import Actor, ActorType, Role
from app.services.checks import Violation, violations
from tests import factories
from tests.factories import Connection
from tests.fixtures.database import Clone
from tests.fixtures.worker import Hand
from tests.ledger import books
from tests.reconciliation.comparing import compare, flagged, met, next_comparison, opened

READER = Actor(ActorType.OPERATOR, "ann", Role.OPERATOR)


def moment(conn: Connection) -> Any:
    row = conn.execute("select clock_timestamp() as now").fetchone()
    return row and row["now"]


def is_due_in_half_a_second(conn: Connection, p: dict[str, Any], *, since: Any) -> bool:
    """Whether the payment is compared half a second after something that happened to it since then."""
    row = conn.execute(
        "select due_at - interval '500 ms' between %s and clock_timestamp() as is_due from reconcile_due"
        " where payment_id = %s",
        [since, p["id"]],
    ).fetchone()
    return row == {"is_due": True}


def topics(conn: Connection, p: dict[str, Any]) -> list[str]:
    rows = conn.execute(
        "select topic from events where payment_id = %(id)s and topic like 'discrepancy.%%' order by id", p
    ).fetchall()
    return [row["topic"] for row in rows]


def test_whatever_happens_to_a_payment_has_it_compared_within_a_second(conn: Connection) -> None:
    p = factories.payment(conn)
    for change in (
        lambda: factories.advance(conn, p, "submitting"),
        lambda: books.fact(conn, p),
        lambda: books.post(conn, p["merchant_id"], *books.credit(p["merchant_id"], 5), payment_id=p["id"]),
    ):
        conn.execute("update reconcile_due set due_at = 'tomorrow' where payment_id = %(id)s", p)
        before = moment(conn)
        change()
        assert is_due_in_half_a_second(conn, p, since=before)


def test_a_burst_is_one_comparison(conn: Connection) -> None:
    p = factories.payment(conn, "confirmed")
    first = conn.execute("select due_at from reconcile_due where payment_id = %(id)s", p).fetchall()
    books.fact(conn, p)
    assert conn.execute("select due_at from reconcile_due where payment_id = %(id)s", p).fetchall() == first


def test_a_life_through_the_real_workers_flags_nothing_and_leaves_nothing_to_wait_for(hand: Hand) -> None:
    p = factories.payment(hand.connection, method_token="pm_card_visa")
    hand.settle(p["id"])
    hand.until(lambda: next_comparison(hand.connection, p) is None)
    assert opened(hand.connection, p) == [] and topics(hand.connection, p) == []
    assert hand.runtime.database.transact(READER, lambda tx: violations(tx, quiesced=True)) == []


def test_silence_is_flagged_by_the_clock_alone_and_closes_when_the_word_comes(hand: Hand) -> None:
    p = factories.payment(hand.connection, method_token="pm_card_visa")
    jobs = hand.connection.execute("delete from procrastinate_jobs returning id").fetchall()
    assert jobs, "its only wake-up is gone"
    hand.connection.execute("update deliveries set job_id = null, due_at = 'tomorrow'")
    while not (found := opened(hand.connection, p)):
        hand.sweep()
    assert [(row["type"], row["ref"], row["detected_by"]) for row in found] == [
        ("stale_state", "initiated", "realtime")
    ]
    assert (found[0]["first_seen_at"] - found[0]["evidence_at"]).total_seconds() < 5
    hand.connection.execute("update deliveries set due_at = clock_timestamp()")
    hand.settle(p["id"])
    hand.until(lambda: not opened(hand.connection, p))
    assert topics(hand.connection, p) == ["discrepancy.opened", "discrepancy.closed"]


def test_a_lost_line_is_asked_for_once_and_the_discrepancy_closes_by_itself(hand: Hand) -> None:
    p = factories.payment(hand.connection, method_token="pm_card_visa")
    hand.settle(p["id"])
    # a quarter of an hour is a second
    hand.retime(silence=1 / 900)
    with hand.connection.transaction():
        hand.connection.execute("alter table provider_transactions disable trigger all")
        hand.connection.execute("delete from provider_transactions")
        hand.connection.execute(
            "alter table provider_transactions enable always trigger provider_transactions_700_event"
        )
    hand.connection.execute(
        "insert into reconcile_due select merchant_id, id, clock_timestamp() from payments"
        " on conflict (merchant_id, payment_id) do update set due_at = excluded.due_at"
    )
    hand.until(lambda: [row["type"] for row in opened(hand.connection, p)] == ["missing_at_provider"], patience=30)
    hand.until(lambda: not opened(hand.connection, p))
    assert len(hand.calls(step="fetch")) >= 1


def test_a_payment_that_another_holds_is_left_to_the_next_pass(hand: Hand, database: Clone) -> None:
    p = met(hand.connection)
    other = database.connect(admin=True, autocommit=False)
    other.execute("select from payments where id = %(id)s for no key update", p)
    hand.connection.execute("update reconcile_due set due_at = 'yesterday'")
    hand.sweep()
    assert (next_comparison(hand.connection, p) or 0) < 0
    other.rollback()
    hand.sweep()
    assert next_comparison(hand.connection, p) is None


def test_two_workers_comparing_at_once_open_one_discrepancy(hand: Hand) -> None:
    payments = [factories.payment(hand.connection, "failed") for _ in range(20)]
    for p in payments:
        books.fact(hand.connection, p)
    hand.connection.execute("update reconcile_due set due_at = 'yesterday'")
    threads = [threading.Thread(target=hand.sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hand.sweep()
    rows = hand.connection.execute("select type, occurrences from discrepancies").fetchall()
    assert rows == [{"type": "money_after_final", "occurrences": 1}] * 20


def test_check_finds_what_is_wrong_and_not_open_and_what_is_open_and_no_longer_wrong(conn: Connection) -> None:
    p = factories.payment(conn, "failed")
    books.fact(conn, p)
    conn.execute("delete from reconcile_due")
    [found] = broken(conn)
    assert found.payment_id == str(p["id"]) and "money_after_final" in found.detail
    compare(conn, p)
    assert broken(conn) == []
    conn.execute("alter table payments disable trigger all")
    conn.execute("delete from provider_transactions")
    assert ["no longer true" in row.detail for row in broken(conn)] == [True]


def test_check_leaves_to_its_comparison_what_has_just_happened_to_a_payment(conn: Connection) -> None:
    p = factories.payment(conn)
    assert flagged(conn, p, scale=0.0) == ["stale_state"]
    conn.execute("delete from reconcile_due")
    before = moment(conn)
    factories.advance(conn, p, "submitting")
    assert is_due_in_half_a_second(conn, p, since=before)
    assert broken(conn) == []
    conn.execute("update reconcile_due set due_at = clock_timestamp() + interval '5 seconds'")
    assert ["no longer true" in row.detail for row in broken(conn)] == [True]


def broken(conn: Connection) -> list[Violation]:
    rows = violations(Tx(conn), quiesced=True)
    return [row for row in rows if row.invariant == "discrepancies_are_what_is_found"]
