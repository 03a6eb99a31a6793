"""`postbox trace` finds a payment by whatever identifier somebody has and shows every piece of evidence"
" exactly once."""

from __future__ import annotations

from collections import Counter

import pytest

from tests import factories
from tests.cli import story
from tests.cli.conftest import Postbox
from tests.fixtures.database import Clone

# Every table that holds evidence, as the names of its rows in the trace.
EVIDENCE = {
    "history": "select id::text as name from audit_log where entity_type = 'payment'",
    "audit": "select id::text as name from audit_log where entity_type in ('operation', 'provider_call', 'webhook',"
    " 'ledger_entry')",
    "event": "select id::text as name from events",
    "delivery": "select event_id || ':' || handler as name from deliveries",
    "dlq": "select id::text as name from delivery_failures",
    "operation": "select id::text as name from operations",
    "attempt": "select idempotency_key as name from operation_attempts",
    "provider_call": "select id::text as name from provider_calls",
    "webhook": "select id::text as name from webhooks",
    "provider_transaction": "select ref as name from provider_transactions",
}


def test_every_piece_of_evidence_is_shown_exactly_once_in_time_order(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    told = story.settled(conn)
    with factories.acting(conn, "worker"):
        conn.execute(
            "insert into delivery_failures (merchant_id, event_id, handler, error_class, message, traceback)"
            " select merchant_id, event_id, handler, 'builtins.OSError', 'once', 'x' from deliveries where"
            " handler = 'submit_payment'"
        )
    evidence = postbox("trace", told["payment_id"], "--json").json["evidence"]
    shown = Counter((row["source"], row["evidence_id"]) for row in evidence)
    stored = Counter((source, row["name"]) for source, sql in EVIDENCE.items() for row in conn.execute(sql).fetchall())
    assert shown == stored
    assert set(EVIDENCE) == {source for source, _ in shown}
    assert [row["at"] for row in evidence] == sorted(row["at"] for row in evidence)


def test_another_payments_evidence_stays_out(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    first, second = story.settled(conn), story.settled(conn, reference="invoice 18")

    def names(one: story.Story) -> set[tuple[str, str]]:
        evidence = postbox("trace", one["pi"], "--json").json["evidence"]
        return {(row["source"], row["evidence_id"]) for row in evidence}

    mine, others = names(first), names(second)
    assert mine
    assert not mine & others
    everything = sum(len(conn.execute(sql).fetchall()) for sql in EVIDENCE.values())
    assert len(mine | others) == everything


def test_every_identifier_leads_to_the_payment(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    told = story.settled(conn)
    event = conn.execute("select id from events where topic = 'payment.confirmed'").fetchone()
    hooked = conn.execute("select id from events where topic = 'webhook.received'").fetchone()
    assert event is not None
    assert hooked is not None
    identifiers = [
        told["payment_id"], f"pay_{told['payment_id'].hex}", f"op_{told['operation_id'].hex}", f"evt_{event['id'].hex}",
        f"evt_{hooked['id'].hex}", told["pi"], told["ch"], told["evt"], told["txn"], "invoice 17",
        story.KEY_OF_MERCHANT,
        f"{told['operation_id']}:confirm:1",
    ]  # fmt: skip
    for identifier in identifiers:
        found = postbox("trace", identifier, "--json").json
        assert [row["payment_id"] for row in found["candidates"]] == [str(told["payment_id"])], identifier
        assert found["evidence"], identifier


def test_an_ambiguous_reference_lists_the_candidates(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    ids = {str(story.settled(conn, reference="monthly")["payment_id"]) for _ in range(2)}
    found = postbox("trace", "monthly", "--json").json
    assert {row["payment_id"] for row in found["candidates"]} == ids
    assert found["evidence"] is None
    assert "trace one of them" in postbox("trace", "monthly").out


def test_an_altered_audit_entry_is_marked(postbox: Postbox, database: Clone) -> None:
    conn = database.connect(admin=True)
    told = story.settled(conn)
    assert "ALTERED" not in postbox("trace", told["pi"]).out
    conn.execute("alter table audit_log disable trigger user")
    conn.execute("update audit_log set reason = 'x' where payment_version = 2")
    assert postbox("trace", told["pi"]).out.count("ALTERED") == 1


@pytest.mark.parametrize("identifier", ["nonsense", "pay_" + "0" * 32, "evt_unknown", "%"])
def test_what_nobody_knows_is_one_line(postbox: Postbox, identifier: str) -> None:
    answer = postbox("trace", identifier)
    assert (answer.code, answer.err) == (1, f"Error: nothing is known by {identifier}\n")
