"""All that is around the books: merchants, the provider and its banks, webhooks in any order, workers that die."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import requests
from flask.testing import FlaskClient

from app.config import SANDBOX_API_KEY
from app.db import Tx
from app.db.queries import QUERIES
from app.errors import PostboxError
from app.model.actor import Actor, ActorType, Role
from app.providers.stripe import StripeProvider
from app.services import payments
from app.services.authentication import Caller
from app.services.checks import INVARIANTS, Violation, violations
from cli.sandbox.webhooks import sign
from jobs.handlers.apply_webhook import CHILD_EVENTS
from jobs.reconcile import compare_due_once
from tests import factories
from tests.fixtures.database import WEBHOOK_SECRET
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.worker import Hand
from tests.jobs.money_observed import BOOKS
from tests.machine.model import Expected, expected

Row = dict[str, Any]

READER = Actor(ActorType.OPERATOR, "ann", Role.OPERATOR)
API = Actor(ActorType.API, "key-1", Role.API)
# Until a charge has its balance transaction; until that is available, and until a payout has arrived.
BALANCE_AFTER, AVAILABLE_AFTER = 600, 6_000


# Invariants about no payment, balances and payouts above all: asked for one payment they find nothing.
BEYOND_PAYMENTS = [
    name for name in INVARIANTS if re.search(r"%\(payment_id\)s::uuid is null(?! or)", QUERIES[f"checks.{name}"])
]
assert "ledger_balances_are_their_lines" in BEYOND_PAYMENTS

# Whatever happens to a payment leaves an audit entry, or ends a delivery.
TOUCHED = """
select clock.now, t.payment_id
from (select clock_timestamp() as now) clock
left join (
  select payment_id from audit_log where merchant_id = %(merchant_id)s and recorded_at >= %(since)s
  union
  select payment_id from deliveries where merchant_id = %(merchant_id)s and done_at >= %(since)s
) t on true
"""


class Killed(BaseException):
    """The worker is gone, here and now: nothing of it runs any more, what was open the database rolls back."""


@contextmanager
def dying(acts: int) -> Iterator[None]:
    """Who works inside is gone at its so manyeth act, from 1: each statement, and each call before and after."""
    left = acts

    def act() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    def mortal(method: Any, *, twice: bool = False) -> Any:
        def acting(*args: Any, **kwargs: Any) -> Any:
            act()
            answer = method(*args, **kwargs)
            if twice:
                act()
            return answer

        return acting

    with pytest.MonkeyPatch.context() as patch:
        for name in ("run", "one", "all"):
            patch.setattr(Tx, name, mortal(getattr(Tx, name)))
        patch.setattr(StripeProvider, "send", mortal(StripeProvider.send, twice=True))
        with suppress(Killed):
            yield


class Surroundings:
    """One merchant's payments, and everybody who has a hand in them; what a machine does, one step at a time."""

    def __init__(self, hand: Hand, sandbox: Sandbox, client: FlaskClient) -> None:
        self.hand = hand
        self.sandbox = sandbox
        self.client = client
        self.conn = hand.connection
        self.stripe = requests.Session()
        self.stripe.headers["Authorization"] = f"Bearer {SANDBOX_API_KEY}"
        self.last_event = next((event["id"] for event in self._events(limit=1)), None)

    def begin(self) -> None:
        """A merchant without payments; what was never delivered to the last one is lost."""
        self.looked_at = datetime.now(UTC)
        self.merchant_id = factories.merchant(self.conn)["id"]
        self.caller = Caller(self.merchant_id, "key-1", livemode=False)
        self.payments: list[Any] = []
        self.payouts: list[str] = []
        self.hear()
        self.waiting: list[Row] = []
        self.delivered: list[Row] = []

    # -- merchants ----------------------------------------------------------------------------------------------

    def pay(self, *, amount: int, token: str, capture_method: str) -> None:
        wanted = {
            "amount": amount, "currency": "usd", "method": {"type": "card", "token": token},
            "capture_method": capture_method, "return_url": factories.RETURN_URL,
        }  # fmt: skip
        made = self._transact(lambda tx: payments.create(tx, self.caller, wanted, provider="stripe", account="default"))
        self.payments.append(made["id"])

    def ask(self, verb: Callable[..., object], payment_id: Any, **how: Any) -> bool:
        """Whether capture, cancel or refund was accepted."""
        try:
            self._transact(lambda tx: verb(tx, self.caller, payment_id, **how))
        except PostboxError:
            return False
        return True

    def _transact(self, work: Callable[[Tx], Any]) -> Any:
        return self.hand.runtime.database.transact(API, work, merchant_id=str(self.merchant_id))

    # -- the provider and the banks -----------------------------------------------------------------------------

    def ledger(self) -> dict[Any, Row]:
        """The sandbox's own truth about this merchant, by our payment's id."""
        found = self.sandbox.ledger(**{"metadata.merchant_id": str(self.merchant_id)})["payments"]
        by_id = {UUID(payment["metadata"]["payment_id"]): payment for payment in found}
        assert len(by_id) == len(found), "a payment has one PaymentIntent"
        return by_id

    def lines(self, payment: Row) -> list[Row]:
        """The balance transactions of a payment's charge, refunds and disputes."""
        sources = [child["id"] for kind in ("charges", "refunds", "disputes") for child in payment[kind]]
        return [line for source in sources for line in self._list("balance_transactions", source=source)]

    def refund_elsewhere(self, payment: Row, amount: int) -> None:
        """Somebody refunds in the provider's dashboard, past us."""
        self.stripe.post(
            f"{self.sandbox.url}/v1/refunds",
            data={"payment_intent": payment["payment_intent"], "amount": amount}, timeout=10,
        )  # fmt: skip

    def bank(self, what: str, **how: Any) -> Row | None:
        """A bank, or the provider, does something; None when it cannot."""
        answer = self.stripe.post(f"{self.sandbox.url}/_sandbox/{what}", json=how or None, timeout=10)
        return answer.json() if answer.ok else None

    def pay_out(self) -> None:
        """Everything that is available goes to our bank; nothing happens when that is nothing."""
        made = self.bank("payouts")
        self.payouts += [made["id"]] if made else []

    def _list(self, kind: str, **params: Any) -> list[Row]:
        answer = self.stripe.get(f"{self.sandbox.url}/v1/{kind}", params={"limit": 100, **params}, timeout=10)
        answer.raise_for_status()
        return answer.json()["data"]

    def _events(self, **params: Any) -> list[Row]:
        return self._list("events", **params)

    # -- webhooks -----------------------------------------------------------------------------------------------

    def hear(self) -> None:
        """What the provider has to tell since we last listened; it waits until it is delivered."""
        while found := self._events(**({"ending_before": self.last_event} if self.last_event else {})):
            self.waiting += reversed(found)
            self.last_event = found[0]["id"]

    def deliver(self, event: Row) -> None:
        raw = json.dumps(event).encode()
        signature = {"Stripe-Signature": sign(raw, WEBHOOK_SECRET, int(time.time()))}
        answer = self.client.post("/webhooks/stripe/default", data=raw, headers=signature)
        assert answer.status_code == 200, answer.text
        self.delivered.append(event)

    # -- workers ------------------------------------------------------------------------------------------------

    def crash(self, acts: int) -> None:
        """A worker takes the next job and is gone at its so manyeth act, or before it could say that it is done."""
        with dying(acts):
            self.hand.take_one()

    def rest(self) -> None:
        """Until nothing is under way: the newest is heard, no delivery is open, all books are compared."""
        self._calm()
        self.sandbox.advance(BALANCE_AFTER)
        self._calm()
        self.conn.execute("update reconcile_due set due_at = clock_timestamp()")
        compare_due_once(self.hand.runtime)

    def _calm(self) -> None:
        while True:
            self.hear()
            for event in self._needed():
                self.deliver(event)
            if not self.hand.open_deliveries():
                return
            self.hand.quiet()

    def _needed(self) -> list[Row]:
        """Of what waits, the newest about each object; the webhooks before it are lost."""
        newest = {_about(event): event for event in self.waiting}
        self.waiting = []
        return list(newest.values())

    # -- what came of it ----------------------------------------------------------------------------------------

    def broken(self, payments: Sequence[Any], *, quiesced: bool = False) -> list[Violation]:
        """What `postbox check` finds about these payments, and about all balances and payouts."""

        def look(tx: Tx) -> list[Violation]:
            found = [row for each in payments for row in violations(tx, quiesced=quiesced, payment_id=each)]
            return found + violations(tx, quiesced=quiesced, names=BEYOND_PAYMENTS)

        return self.hand.runtime.database.transact(READER, look)

    def touched(self) -> list[Any]:
        """The payments about which anything was written since this was asked last; what is not is as it was."""
        rows = self.conn.execute(TOUCHED, {"merchant_id": self.merchant_id, "since": self.looked_at}).fetchall()
        self.looked_at = rows[0]["now"]
        return [row["payment_id"] for row in rows if row["payment_id"] is not None]

    def found(self) -> dict[Any, Expected]:
        """Every payment as our own books have it."""
        return {payment_id: self._found(self.hand.payment(payment_id)) for payment_id in self.payments}

    def _found(self, row: Row) -> Expected:
        held = {each["account"]: each["amount"] for each in self.conn.execute(BOOKS, row)}
        sums = {name: row[f"amount_{name}"] for name in ("captured", "refunded", "disputed", "lost")}
        return Expected(row["state"], **sums, books=tuple(sorted(held.items())))

    def expected(self) -> dict[Any, Expected]:
        """Every payment as it must be, by the provider's ledger."""
        ledger = self.ledger()
        of = {payment_id: ledger.get(payment_id) for payment_id in self.payments}
        return {name: expected(payment, self.lines(payment) if payment else ()) for name, payment in of.items()}

    def payouts_found(self) -> dict[str, tuple[Any, ...]]:
        """The payouts that were made meanwhile as our books have them, and what their lines come to."""
        rows = self.conn.execute(
            "select ref, status, amount, (select sum(net)::bigint from provider_transactions t"
            "  where t.payout_ref = p.ref and t.kind <> 'payout') as lines from payouts p where ref = any(%s)",
            [self.payouts],
        )
        return {row["ref"]: (row["status"], row["amount"], row["lines"]) for row in rows}

    def payouts_expected(self) -> dict[str, tuple[Any, ...]]:
        """The same as the provider has them; it itemises a payout once it is on its way."""
        made = {row["id"]: row for row in self._list("payouts") if row["id"] in self.payouts}
        return {
            ref: (row["status"], row["amount"], row["amount"] if row["reconciliation_status"] == "completed" else None)
            for ref, row in made.items()
        }

    def open_discrepancies(self) -> list[Row]:
        return self.conn.execute(
            "select type, expected, actual from discrepancies where merchant_id = %s and closed_at is null",
            [self.merchant_id],
        ).fetchall()


def _about(event: Row) -> tuple[object, ...]:
    """What an event is about: of a payment, its refunds and disputes are another matter than itself."""
    subject = event["data"]["object"]
    of_child = event["type"].startswith(CHILD_EVENTS)
    return of_child, subject.get("payment_intent") or subject.get("id") or event["type"]
