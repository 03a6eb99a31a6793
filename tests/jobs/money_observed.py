"""One payment with refunds and a dispute on real PostgreSQL: what its provider says is applied, its books are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from app.db import Tx
from app.services import ledger
from tests import factories
from tests.jobs.interleaving import Flight, Orders, World
from tests.jobs.money_history import AMOUNT, History, Told, snapshots
from tests.jobs.observed import Connection, Observed

# All that merchants and operators see: the payment, and each child by the provider's reference, each in its own order.
# Nothing says in which order two children changed when we heard of both at once, beyond what their money lines say.
TOLD = """
select jsonb_build_object(
  'state', p.state, 'settled', p.settled_at is not null,
  'amounts', jsonb_build_object('captured', p.amount_captured, 'refunded', p.amount_refunded,
    'disputed', p.amount_disputed, 'lost', p.amount_lost),
  'pending', p.amount_refund_pending,
  'topics', (select jsonb_agg(e.topic order by e.payment_version, e.id) from events e
    where e.merchant_id = p.merchant_id and e.payment_id = p.id and e.topic like 'payment.%%'),
  'refunds', (select coalesce(jsonb_agg(jsonb_build_array(r.amount, r.state, (
      select jsonb_agg(split_part(e.topic, '.', 2) order by e.id) from events e
      where e.merchant_id = r.merchant_id and e.refund_id = r.id)) order by r.provider_ref), '[]')
    from refunds r where r.merchant_id = p.merchant_id and r.payment_id = p.id),
  'dispute', (select jsonb_build_object('state', d.state, 'status', d.provider_status, 'held', d.amount_withdrawn,
    'topics', (
      select jsonb_agg(split_part(e.topic, '.', 2) order by e.id) from events e
      where e.merchant_id = d.merchant_id and e.dispute_id = d.id))
    from disputes d where d.merchant_id = p.merchant_id and d.payment_id = p.id),
  'lines', (select coalesce(jsonb_agg(jsonb_build_array(t.ref, t.status, t.gross) order by t.ref), '[]')
    from provider_transactions t where t.merchant_id = p.merchant_id and t.payment_id = p.id)
)::text as told, p.state
from payments p where p.merchant_id = %(merchant_id)s and p.id = %(id)s
"""

BOOKS = """
select case when a.code in ('merchant:pending', 'merchant:available') then 'merchant'
            when a.code in ('stripe:pending', 'stripe:available') then 'provider' else a.code end as account,
       sum(l.amount)::bigint as amount
from ledger_lines l join ledger_accounts a on a.id = l.account_id
where l.payment_id = %(id)s group by 1 having sum(l.amount) <> 0 order by 1
"""

HANDLERS = {
    "credit_merchant": ("payment.confirmed",),
    "release_funds": ("payment.settled",),
    "post_fact": ("fact.recorded", "fact.matched", "fact.available"),
    "post_refund": ("refund.requested", "refund.booked", "refund.succeeded", "refund.failed", "refund.canceled"),
    "post_dispute": ("dispute.funds_withdrawn", "dispute.funds_reinstated"),
}
HANDLER_OF = {topic: handler for handler, topics in HANDLERS.items() for topic in topics}


class MoneyObserved(Observed):
    """An Observed whose history begins with the confirm.

    With `keeps_books` the handlers of what was told run right after each snapshot, and the books are told as well.
    """

    def __init__(
        self, conn: Connection, history: History, *, checks_version: bool = True, keeps_books: bool = False
    ) -> None:
        self.conn = conn
        self.tx = Tx(conn)
        self.checks_version = checks_version
        self.row = factories.payment(conn, "submitting", method=history.method, amount=AMOUNT)
        self.ids = {"merchant_id": self.row["merchant_id"], "payment_id": self.row["id"]}
        self.row["provider_ref"] = factories.provider_ref(self.row)
        factories.act(conn, "webhook")
        self.tx.run("payments.set_provider_ref", **self.ids, provider_ref=self.row["provider_ref"])
        self.snapshots = snapshots(history, self.row)
        self.posted: set[Any] = set()
        self.keeps_books = keeps_books

    @contextmanager
    def undone(self) -> Iterator[None]:
        posted = set(self.posted)
        try:
            with super().undone():
                yield
        finally:
            self.posted = posted

    def apply(self, seen: int, version: int | None) -> bool:
        outdated = super().apply(seen, version)
        for event in self.open_events() if self.keeps_books else ():
            self.post(event)
        return outdated

    def told(self) -> str:
        return json.dumps(json.loads(super().told()) | ({"books": self.books()} if self.keeps_books else {}))

    def _told(self) -> dict[str, Any]:
        row = self.conn.execute(TOLD, self.row).fetchone()
        assert row is not None
        return row

    def open_events(self) -> list[dict[str, Any]]:
        """The events whose local handler has not run, oldest first."""
        rows = self.conn.execute(
            "select id, topic from events where payment_id = %s and topic = any(%s) order by id",
            [self.row["id"], list(HANDLER_OF)],
        )
        return [row for row in rows if row["id"] not in self.posted]

    def post(self, event: dict[str, Any]) -> None:
        """What the local handler of this event does."""
        handler = HANDLER_OF[event["topic"]]
        about = self.row["id"] if handler in ("credit_merchant", "release_funds") else event["id"]
        getattr(ledger, handler)(self.tx, self.row["merchant_id"], about)
        ledger.close(self.tx)
        self.posted.add(event["id"])

    def books(self) -> dict[str, int]:
        return {row["account"]: row["amount"] for row in self.conn.execute(BOOKS, self.row)}

    def left_in_pending(self) -> int:
        row = self.conn.execute(
            "select coalesce(sum(l.amount), 0)::bigint as n from ledger_lines l join ledger_accounts a"
            " on a.id = l.account_id and a.code = 'merchant:pending' where l.payment_id = %(id)s",
            self.row,
        ).fetchone()
        assert row is not None
        return int(row["n"])


class MoneyOrders(Orders):
    """Orders in which what leaves no trace is seen before the next change removes it."""

    history: History  # type: ignore[assignment]

    def _can_move(self, world: World) -> bool:
        if not super()._can_move(world):
            return False
        return not self.history.vanishes(world.moved) or world.seen == world.moved

    def _land(self, world: World, flight: Flight) -> World:
        return replace(super()._land(world, flight), seen=max(world.seen, flight.seen))


def as_told(text: str) -> dict[str, Any]:
    """What a MoneyObserved tells, reduced to what the plain model knows."""
    found = json.loads(text)
    dispute = found["dispute"] or {"state": None, "topics": [], "held": 0}
    return {
        "state": found["state"], "settled": found["settled"], "amounts": found["amounts"], "pending": found["pending"],
        "topics": found["topics"], "refunds": found["refunds"], "dispute": dispute["topics"],
        "dispute_state": dispute["state"], "held": dispute["held"],
    }  # fmt: skip


def plain(t: Told) -> dict[str, Any]:
    return {
        "state": t.state, "settled": t.settled, "amounts": t.amounts(), "pending": 0, "topics": t.topics,
        "refunds": t.refunds, "dispute": t.dispute, "dispute_state": t.dispute_state, "held": t.held,
    }  # fmt: skip
