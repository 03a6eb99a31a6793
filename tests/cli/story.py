"""One settled payment with every kind of evidence and nothing wrong with it: what damage is done to, and traced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app.db import Tx
from app.model.snapshot import (
    DisputeSnapshot,
    DisputeStatus,
    Fact,
    ProviderStatus,
    RefundSnapshot,
    RefundStatus,
    Snapshot,
)
from app.services.children import apply_children
from tests import factories
from tests.factories import Connection
from tests.ledger import books

KEY_OF_MERCHANT = "order-4711"


@dataclass(frozen=True)
class Story:
    """Names of the rows, as parameters of a statement: `%(payment_id)s`, `%(merchant_id)s`, ..."""

    names: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


def settled(conn: Connection, *, reference: str | None = "invoice 17") -> Story:
    """A payment created, submitted with two calls, confirmed by a webhook and settled; every delivery is done."""
    merchant = factories.merchant(conn)
    p = factories.initiated(conn, merchant["id"], reference=reference)
    p = factories.advance(conn, p, "submitting")
    op = conn.execute("select * from operations where payment_id = %(id)s", p).fetchone()
    assert op is not None
    attempt(conn, op, "create", 1)
    create = factories.finish_call(
        conn, factories.provider_call(conn, op, step="create", idempotency_key=f"{op['id']}:create:1")
    )
    attempt(conn, op, "confirm", 1)
    confirm = factories.provider_call(conn, op, step="confirm", idempotency_key=f"{op['id']}:confirm:1")
    confirm = factories.finish_call(conn, confirm)
    p = factories.advance(conn, p, "submitted")
    p = factories.advance(conn, p, "confirmed")
    webhook = factories.webhook(
        conn, payment_ref=p["provider_ref"], payment_id=p["id"], payment_merchant_id=p["merchant_id"]
    )
    charge = money_line(conn, p)
    p = factories.advance(conn, p, "settled")
    names = {"payment_id": p["id"], "merchant_id": p["merchant_id"], "operation_id": op["id"]}
    names |= {"webhook_id": webhook["id"], "create_id": create["id"], "confirm_id": confirm["id"], "txn": charge}
    names |= {"pi": p["provider_ref"], "ch": p["latest_charge_ref"], "evt": webhook["provider_event_id"]}
    book(conn, p)
    finish_deliveries(conn)
    with factories.acting(conn, "api", merchant_id=str(p["merchant_id"])):
        conn.execute(
            "insert into idempotency_keys (merchant_id, key, fingerprint, status, body)"
            " values (%s, %s, sha256('x'), 201, convert_to(%s, 'UTF8'))",
            [p["merchant_id"], KEY_OF_MERCHANT, f'{{"id": "pay_{UUID(str(p["id"])).hex}"}}'],
        )
    return Story(names)


def refunded_and_disputed(conn: Connection) -> Story:
    """A settled payment, in part refunded and for the rest disputed: told, booked, and nothing wrong with it."""
    names = settled(conn).names
    p = conn.execute("select * from payments where id = %(payment_id)s", names).fetchone()
    assert p is not None
    took = money_fact(p, "re_1", -400)
    refund = RefundSnapshot(
        ref="re_1", status=RefundStatus.SUCCEEDED, provider_status="succeeded", currency=p["currency"], amount=400,
        created_at=took.created_at, fact=took,
    )  # fmt: skip
    withdrew = money_fact(p, "du_1", -600, fee=1_500)
    dispute = DisputeSnapshot(
        ref="du_1", status=DisputeStatus.OPEN, provider_status="needs_response", currency=p["currency"], amount=600,
        created_at=withdrew.created_at, facts=(withdrew,),
    )  # fmt: skip
    seen = Snapshot(
        provider="stripe", account="default", ref=p["provider_ref"], status=ProviderStatus.SUCCEEDED,
        currency=p["currency"], amount=p["amount"], refunds=(refund,), disputes=(dispute,),
    )  # fmt: skip
    with factories.acting(conn, "webhook"):
        apply_children(Tx(conn), p, seen, settlement=None)
    books.handle_children(conn, p)
    books.handle_facts(conn)
    finish_deliveries(conn)
    return Story(names)


def money_fact(p: dict[str, Any], source: str, gross: int, *, fee: int = 0) -> Fact:
    now = datetime.now(UTC)
    return Fact(
        ref=f"txn_{source}", kind="x", source_ref=source, currency=p["currency"], gross=gross, fee=fee, net=gross - fee,
        status="available", available_on=now, created_at=now,
    )  # fmt: skip


def attempt(conn: Connection, op: dict[str, Any], step: str, n: int, proof: UUID | None = None) -> None:
    with factories.acting(conn, "worker"):
        conn.execute(
            "insert into operation_attempts (merchant_id, operation_id, step, n, idempotency_key, proof_call_id)"
            " values (%s, %s, %s, %s, %s, %s)",
            [op["merchant_id"], op["id"], step, n, f"{op['id']}:{step}:{n}", proof],
        )


def money_line(conn: Connection, p: dict[str, Any]) -> str:
    ref = f"txn_{uuid4().hex}"
    with factories.acting(conn, "worker"):
        conn.execute(
            "insert into provider_transactions (merchant_id, provider, account, ref, payment_id, kind,"
            " source_ref, currency,"
            " gross, fee, net, status, available_on, created_at_provider) values (%(merchant_id)s, 'stripe',"
            " 'default', %(ref)s,"
            " %(id)s, 'charge', %(latest_charge_ref)s, %(currency)s, %(amount_captured)s, 59,"
            " %(amount_captured)s - 59,"
            " 'available', clock_timestamp(), clock_timestamp())",
            p | {"ref": ref},
        )
    return ref


def book(conn: Connection, p: dict[str, Any]) -> None:
    """What the local handlers post for this payment: both hands, clearing zero."""
    books.handle(conn, "credit_merchant", p)
    books.handle(conn, "release_funds", p)
    books.handle_facts(conn)


def finish_deliveries(conn: Connection) -> None:
    """Every pending delivery is done, and its job gone."""
    with factories.acting(conn, "worker"):
        conn.execute("delete from procrastinate_jobs")
        conn.execute(
            "update deliveries set status = 'done', done_at = clock_timestamp(), job_id = null where status = 'pending'"
        )


def dead(
    conn: Connection, p: dict[str, Any], handler: str = "submit_payment", error: str = "builtins.ValueError"
) -> UUID:
    """Bury the payment's delivery to this handler after three failures; returns the event's id."""
    with factories.acting(conn, "worker"):
        row = conn.execute(
            "update deliveries set status = 'dead', dead_at = clock_timestamp(), dead_reason = 'failures',"
            " failures = 3,"
            " job_id = null where payment_id = %(id)s and handler = %(handler)s returning merchant_id,"
            " event_id, handler",
            p | {"handler": handler},
        ).fetchone()
        assert row is not None, "the payment has such a delivery"
        for n in range(1, 4):
            conn.execute(
                "insert into delivery_failures (merchant_id, event_id, handler, error_class, message, traceback)"
                " values (%(merchant_id)s, %(event_id)s, %(handler)s, %(error)s, %(message)s, 'Traceback: line 1')",
                row | {"error": error, "message": f"failure {n}"},
            )
    return UUID(str(row["event_id"]))
