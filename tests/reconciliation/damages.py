"""Twelve ways in which books come apart, each done to payments of its own, and how those that can be are repaired."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.config import PLATFORM_MERCHANT_ID
from app.db import Tx
from tests import factories
from tests.factories import Connection, Row
from tests.ledger import books

Make = Callable[[Connection, Any], str]

MINUTE = 60.0


@dataclass(frozen=True)
class Damage:
    """`make` does it and returns its subject; it counts as one after `wait` seconds of production's time."""

    type: str
    make: Make
    wait: float = 0.0
    repair: Callable[[Connection, str], object] | None = None


def _charge(conn: Connection, p: Row, gross: int, **columns: Any) -> Row:
    return books.fact(conn, p, **{"source_ref": p["latest_charge_ref"], "gross": gross, "fee": _fee(p)} | columns)


def _fee(p: Row) -> int:
    return (int(p["amount"]) * 290 + 5_000) // 10_000 + 30


def _of(conn: Connection, subject: str) -> Row:
    row = conn.execute("select * from payments where id = %s", [subject.removeprefix("payment/")]).fetchone()
    assert row is not None
    return row


def _about(p: Row) -> str:
    return f"payment/{p['id']}"


def _some(conn: Connection, state: str, merchant_id: Any) -> Row:
    """A payment of the population that nothing was done to yet."""
    row = conn.execute(
        "select * from payments where merchant_id = %s and state = %s and reference is not null"
        " order by md5(id::text) limit 1 for update skip locked",
        [merchant_id, state],
    ).fetchone()
    assert row is not None, f"the population has a payment that is {state}"
    with factories.acting(conn, "worker"):
        return factories.update_payment(conn, row, reference=None)


def lost_by_the_provider(conn: Connection, merchant_id: Any) -> str:
    return _about(factories.payment(conn, "confirmed", merchant_id=merchant_id))


def lost_by_us(conn: Connection, merchant_id: Any) -> str:
    line = books.fact(conn, None, source_ref=f"ch_{uuid.uuid4().hex}")
    return f"provider_transaction/stripe/default/{line['ref']}"


def another_amount(conn: Connection, merchant_id: Any) -> str:
    p = factories.payment(conn, "confirmed", merchant_id=merchant_id, amount=3_000)
    _charge(conn, p, 2_900, fee=114)
    return _about(p)


def another_currency(conn: Connection, merchant_id: Any) -> str:
    p = factories.payment(conn, "confirmed", merchant_id=merchant_id)
    _charge(conn, p, p["amount"], currency="eur")
    return _about(p)


def behind(conn: Connection, merchant_id: Any) -> str:
    p = factories.payment(conn, "submitted", merchant_id=merchant_id)
    with factories.acting(conn, "worker"):
        factories.update_payment(conn, p, provider_rank=50)
    return _about(p)


def charged_twice(conn: Connection, merchant_id: Any) -> str:
    p = _some(conn, "settled", merchant_id)
    _charge(conn, p, p["amount"], source_ref=f"ch_{uuid.uuid4().hex}", fee=0)
    return _about(p)


def too_dear(conn: Connection, merchant_id: Any) -> str:
    p = factories.payment(conn, "confirmed", merchant_id=merchant_id)
    _charge(conn, p, p["amount"], fee=_fee(p) + 25)
    return _about(p)


def _itemised(conn: Connection, ref: str) -> None:
    names = {"merchant_id": PLATFORM_MERCHANT_ID, "provider": "stripe", "account": "default", "ref": ref}
    Tx(conn).one("payouts.compare", **names)


def short_payout(conn: Connection, merchant_id: Any) -> str:
    ref = f"po_{uuid.uuid4().hex}"
    line = _charge(conn, _some(conn, "settled", merchant_id), 1_000, kind="other_adjustment", fee=0)
    with factories.acting(conn, "reconciler"):
        conn.execute(
            "insert into payouts (merchant_id, provider, account, ref, status, currency, amount, created_at_provider,"
            " arrives_at, automatic, lines_read_at)"
            " select merchant_id, provider, account, %s, 'in_transit', 'usd', 990, now(), now(), true, now()"
            " from provider_accounts where account = 'default'",
            [ref],
        )
        conn.execute("update provider_transactions set payout_ref = %s where ref = %s", [ref, line["ref"]])
        conn.execute(
            "select * from reconcile_payout('00000000-0000-0000-0000-000000000000', 'stripe', 'default', %s, 'poll')",
            [ref],
        )
    return f"payout/stripe/default/{ref}"


def disputed_unheard(conn: Connection, merchant_id: Any) -> str:
    p = _some(conn, "settled", merchant_id)
    _charge(conn, p, -p["amount"], kind="dispute", fee=1_500, source_ref=f"du_{uuid.uuid4().hex}")
    return _about(p)


def never_told(conn: Connection, merchant_id: Any) -> str:
    p = _some(conn, "settled", merchant_id)
    row = factories.webhook(
        conn, payment_ref=p["provider_ref"], type="charge.updated", created_at_provider="yesterday", received_by="poll"
    )
    with factories.acting(conn, "reconciler"):
        Tx(conn).run("webhooks.open_missing", event_ids=[row["provider_event_id"]], silence=0.05)
    return _about(p)


def stuck(conn: Connection, merchant_id: Any) -> str:
    return _about(factories.payment(conn, "submitting", merchant_id=merchant_id))


def money_on_a_failed_payment(conn: Connection, merchant_id: Any) -> str:
    p = _some(conn, "failed", merchant_id)
    _charge(conn, p, p["amount"], source_ref=f"ch_{uuid.uuid4().hex}")
    return _about(p)


def _line(kind: str, share: Callable[[Row], int]) -> Callable[[Connection, str], object]:
    def repair(conn: Connection, subject: str) -> object:
        p = _of(conn, subject)
        return books.fact(conn, p, kind=kind, gross=share(p), fee=0, source_ref=f"x_{uuid.uuid4().hex}")

    return repair


def _found(conn: Connection, subject: str) -> object:
    p = factories.payment(conn, "confirmed")
    with factories.acting(conn, "worker"):
        return conn.execute(
            "update provider_transactions set merchant_id = %s, payment_id = %s where ref = %s",
            [p["merchant_id"], p["id"], subject.rsplit("/", 1)[1]],
        )


def _itemised_right(conn: Connection, subject: str) -> object:
    ref = subject.rsplit("/", 1)[1]
    with factories.acting(conn, "reconciler"):
        conn.execute(
            "insert into provider_transactions (merchant_id, provider, account, ref, kind, currency, gross, fee, net,"
            " status, available_on, created_at_provider, payout_ref)"
            " values (%s, 'stripe', 'default', %s, 'payout_minimum_balance_hold', 'usd', -10, 0, -10, 'available',"
            " now(), now(), %s)",
            [PLATFORM_MERCHANT_ID, f"txn_{uuid.uuid4().hex}", ref],
        )
        return conn.execute(
            "select * from reconcile_payout('00000000-0000-0000-0000-000000000000', 'stripe', 'default', %s, 'poll')",
            [ref],
        )


def _applied(conn: Connection, subject: str) -> object:
    return conn.execute(
        "update deliveries set status = 'done', done_at = now(), job_id = null"
        " where handler = 'apply_webhook' and status = 'pending' and event_id in ("
        "  select e.id from events e join webhooks w on w.id = e.webhook_id"
        "  join payments p on p.provider_ref = w.payment_ref where p.id = %s)",
        [subject.removeprefix("payment/")],
    )


def _moved_on(conn: Connection, subject: str) -> object:
    return factories.advance(conn, _of(conn, subject), "failed")


DAMAGES = {
    "a charge the provider lost": Damage(
        "missing_at_provider", lost_by_the_provider, 15 * MINUTE, _line("charge", lambda p: p["amount"])
    ),
    "a charge we lost": Damage("missing_here", lost_by_us, 15 * MINUTE, _found),
    "another amount": Damage("amount_mismatch", another_amount, 0.0, _line("partial_capture_reversal", lambda p: 100)),
    "another currency": Damage("currency_mismatch", another_currency),
    "the state is behind": Damage("state_mismatch", behind, 10 * MINUTE, _moved_on),
    "charged twice": Damage("duplicate_charge", charged_twice, 0.0, _line("refund", lambda p: -p["amount"])),
    "another fee": Damage("fee_mismatch", too_dear),
    "a payout that is not its lines": Damage("payout_mismatch", short_payout, 0.0, _itemised_right),
    "a dispute nobody told us of": Damage(
        "dispute_mismatch", disputed_unheard, 10 * MINUTE, _line("dispute_reversal", lambda p: p["amount"])
    ),
    "a webhook that never came": Damage("webhook_missing", never_told, 0.0, _applied),
    "stuck in its state": Damage("stale_state", stuck, 2 * MINUTE, _moved_on),
    "money on a failed payment": Damage(
        "money_after_final", money_on_a_failed_payment, 0.0, _line("refund", lambda p: -p["amount"])
    ),
}
