"""Twelve ways in which books come apart, each done from outside, and how each is repaired.

What is done is done by the provider, by its banks and its customers, by the network between us, or by a hand in the
database: nothing here records a discrepancy, compares a book, or tells the product what it should find.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from app.config import SANDBOX_API_KEY
from tests import factories
from tests.e2e.gateway_process import GatewayProcess
from tests.factories import Row
from tests.jobs.processes import World, until

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
AMOUNT, FEE = 3_000, 117
# Who is turned away asks again after so long: a worker that asks for many such ones has to do something else as well.
TURNED_AWAY_SECONDS = 5
PATIENCE = 120.0


@dataclass
class Place:
    """Where it is done: the processes, and the merchant whose payments are damaged."""

    here: World
    gateway: GatewayProcess

    def paid(self, count: int, *states: str, **columns: Any) -> list[Row]:
        """So many payments that the worker and the provider brought to one of these states."""
        row = {"merchant_id": self.gateway.merchant_id, "method_token": "pm_card_visa", "amount": AMOUNT} | columns
        ids = [factories.payment(self.here.connection, **row)["id"] for _ in range(count)]
        query = "select * from payments where id = any(%s) and state = any(%s) order by created_at, id"

        def arrived() -> list[Row]:
            found = self.here.all(query, ids, list(states))
            return found if len(found) == count else []

        return until(arrived, lambda: f"{self.here.states()}\n{self.here.tail()}", seconds=PATIENCE)

    def unbooked(self, count: int) -> list[Row]:
        """Payments that succeeded at the provider, which does not put them into its books."""
        usual = self.sandbox("GET", "timing")["balance_after"]
        self.sandbox("POST", "timing", balance_after=DAY)
        rows = self.paid(count, "confirmed")
        self.sandbox("POST", "timing", balance_after=usual)
        return rows

    def sandbox(self, verb: str, at: str, **body: Any) -> Row:
        return self.here.sandbox.control(verb, at, **body)

    def line(self, source: str, amount: int, **more: Any) -> Row:
        """The provider books this line."""
        return self.sandbox("POST", "balance_transactions", source=source, amount=amount, **more)

    def stripe(self, path: str, **data: Any) -> Row:
        """Somebody does something in the provider's dashboard."""
        headers = {"Authorization": f"Bearer {SANDBOX_API_KEY}"}
        answer = requests.post(f"{self.here.sandbox.url}/v1/{path}", data=data, headers=headers, timeout=10)
        assert answer.ok, answer.text
        return dict(answer.json())

    def unanswered(self, path: str, p: Row) -> None:
        """The provider turns away whoever asks for this payment there."""
        self.here.sandbox.fault(
            kind="rate_limit_429", method="GET", path=path, intent={"id": p["provider_ref"]}, count=None,
            seconds=TURNED_AWAY_SECONDS,
        )  # fmt: skip

    def answered(self, p: Row) -> None:
        for rule in self.sandbox("GET", "faults")["rules"]:
            if rule["intent"] == {"id": p["provider_ref"]}:
                self.sandbox("DELETE", f"faults/{rule['id']}")

    def of(self, subject: str) -> Row:
        return self.here.one("select * from payments where id = %s", subject.removeprefix("payment/"))

    def charge_of(self, p: Row) -> str:
        """Also of one that failed."""
        [payment] = self.here.sandbox.ledger(payment_id=str(p["id"]))["payments"]
        return str(payment["charges"][0]["id"])


Make = Callable[[Place, int], list[str]]
Repair = Callable[[Place, str], object]

# When what makes it a discrepancy was stored, by the last part of its subject.
LINE = "select max(recorded_at) as at from provider_transactions where payment_id = %s"
NOBODYS = "select recorded_at as at from provider_transactions where ref = %s"
CONFIRMED = "select confirmed_at as at from payments where id = %s"
ENTERED = "select max(occurred_at) as at from events where payment_id = %s and payment_version is not null"
ITEMISED = "select lines_read_at as at from payouts where ref = %s"
HAPPENED = (
    "select min(a.happened_at) as at from awaited_webhooks a join payments p on p.provider_ref = a.payment_ref"
    " where p.id = %s and a.over_at is null"
)


@dataclass(frozen=True)
class Damage:
    """`make` does it so often and returns the subjects; it counts `wait` seconds of production after its evidence."""

    type: str
    make: Make
    evidence: str
    wait: float
    repair: Repair


def _about(rows: list[Row]) -> list[str]:
    return [f"payment/{p['id']}" for p in rows]


def lost_by_the_provider(place: Place, times: int) -> list[str]:
    return _about(place.unbooked(times))


def lost_by_us(place: Place, times: int) -> list[str]:
    """As after a restore: the provider has a payment of ours that we have not."""
    subjects = []
    for _ in range(times):
        names = {"payment_id": uuid.uuid4(), "merchant_id": place.gateway.merchant_id, "operation_id": uuid.uuid4()}
        intent = place.stripe(
            "payment_intents", amount=AMOUNT, currency="usd", payment_method="pm_card_visa", confirm="true",
            return_url=factories.RETURN_URL, **{"allowed_payment_method_types[]": "card"},
            **{f"metadata[{name}]": str(value) for name, value in names.items()},
        )  # fmt: skip
        subjects.append(f"provider_transaction/stripe/default/{_line_of(place, intent)}")
    return subjects


def _line_of(place: Place, intent: Row) -> str:
    def found() -> Any:
        [payment] = place.here.sandbox.ledger(payment_intent=intent["id"])["payments"]
        return payment["charges"][0]["balance_transaction"]

    return str(until(found, "its line"))


def restored(place: Place, subject: str) -> None:
    """Our row is back, submitted long ago by a worker that could not say so."""
    conn, ref = place.here.connection, subject.rsplit("/", 1)[1]
    for payment in place.here.sandbox.ledger()["payments"]:
        if ref in [charge["balance_transaction"] for charge in payment["charges"]]:
            names = payment["metadata"]
            with conn.transaction():
                p = factories.payment(
                    conn, "submitting", merchant_id=names["merchant_id"], id=names["payment_id"], amount=AMOUNT
                )
                factories.advance(conn, p, "submitted", provider_ref=payment["payment_intent"])
                conn.execute(
                    "update deliveries set status = 'done', done_at = now(), job_id = null"
                    " where payment_id = %s and handler = 'submit_payment'", [p["id"]],
                )  # fmt: skip


def another_amount(place: Place, times: int) -> list[str]:
    rows = place.unbooked(times)
    for p in rows:
        place.line(p["latest_charge_ref"], AMOUNT - 10, fee=FEE)
    return _about(rows)


def another_currency(place: Place, times: int) -> list[str]:
    rows = place.unbooked(times)
    for p in rows:
        place.line(p["latest_charge_ref"], AMOUNT, fee=FEE, currency="eur")
    return _about(rows)


def exchanged(place: Place, subject: str) -> None:
    """The provider had converted it, and says so late."""
    line = "select ref from provider_transactions where payment_id = %s and currency <> 'usd'"
    ref = place.here.one(line, place.of(subject)["id"])["ref"]
    place.sandbox("POST", f"balance_transactions/{ref}/exchange", rate=1.0)


def too_dear(place: Place, times: int) -> list[str]:
    rows = place.unbooked(times)
    for p in rows:
        place.line(p["latest_charge_ref"], AMOUNT, fee=FEE + 25)
    return _about(rows)


def behind(place: Place, times: int) -> list[str]:
    """The payer has authenticated and paid; whoever asks about it is turned away."""
    rows = place.paid(times, "requires_action", method_token="pm_card_authenticationRequired")
    for p in rows:
        place.unanswered("/v1/payment_intents/*", p)
        place.sandbox("POST", f"payment_intents/{p['provider_ref']}/authenticate", outcome="success")
    return _about(rows)


def charged_twice(place: Place, times: int) -> list[str]:
    """A customer pressed the button twice, and the shop made two payments of it."""
    seconds = []
    for _ in range(times):
        _, second = place.paid(2, "confirmed", "settled", reference=f"twice-{uuid.uuid4()}")
        seconds.append(second)
    return _about(seconds)


def given_back(place: Place, subject: str) -> None:
    name = place.of(subject)["id"]
    answer = place.gateway.post(f"/v1/payments/pay_{name.hex}/refunds", {}, key=f"back-{name}")
    assert answer.status_code == 201, answer.text


def short_payout(place: Place, times: int) -> list[str]:
    subjects = []
    for _ in range(times):
        place.paid(1, "settled", method_token="pm_card_bypassPending")
        payout = place.sandbox("POST", "payouts", short=10)
        subjects.append(f"payout/stripe/default/{payout['id']}")
    return subjects


def explained(place: Place, subject: str) -> None:
    """The provider had forgotten one of its lines."""
    ref = subject.rsplit("/", 1)[1]
    place.line(ref, -10, category="other_adjustment", payout=ref)


def disputed_unheard(place: Place, times: int) -> list[str]:
    """The money is withdrawn; whoever asks for what dispute is turned away."""
    rows = place.paid(times, "settled")
    for p in rows:
        place.unanswered("/v1/disputes", p)
        place.sandbox("POST", f"charges/{p['latest_charge_ref']}/dispute")
    return _about(rows)


def never_told(place: Place, times: int) -> list[str]:
    """Somebody refunds in the dashboard, and its webhooks are lost on the way."""
    rows = place.paid(times, "settled")
    for p in rows:
        named = {"payment_id": str(p["id"])}
        place.here.sandbox.fault(kind="webhook_dropped", metadata=named, count=None)
        place.stripe("refunds", payment_intent=p["provider_ref"], amount=500, **{"metadata[payment_id]": p["id"]})
    return _about(rows)


def told_late(place: Place, subject: str) -> None:
    """The provider sends them after all."""
    awaited = "select provider_event_id as ref from awaited_webhooks where payment_ref = %s and over_at is null"
    for event in place.here.all(awaited, place.of(subject)["provider_ref"]):
        place.sandbox("POST", f"events/{event['ref']}/redeliver")


def stuck(place: Place, times: int) -> list[str]:
    """A hand in the database removes its wake-up."""
    rows, conn = [], place.here.connection
    for _ in range(times):
        with conn.transaction():
            rows.append(factories.payment(conn, merchant_id=place.gateway.merchant_id, method_token="pm_card_visa"))
            conn.execute(
                "delete from procrastinate_jobs where id in (select job_id from deliveries where payment_id = %s)",
                [rows[-1]["id"]],
            )
            _wake(place, rows[-1], "tomorrow")
    return _about(rows)


def _wake(place: Place, p: Row, due_at: str) -> None:
    place.here.connection.execute(
        "update deliveries set job_id = null, due_at = %s where payment_id = %s and status = 'pending'",
        [due_at, p["id"]],
    )


def money_on_a_failed_payment(place: Place, times: int) -> list[str]:
    rows = place.paid(times, "failed", method_token="pm_card_chargeDeclined")
    for p in rows:
        place.line(place.charge_of(p), AMOUNT, fee=FEE)
    return _about(rows)


def _booked(amount: int, **more: Any) -> Repair:
    """The provider books another line about the payment's charge."""
    return lambda place, subject: place.line(place.charge_of(place.of(subject)), amount, **more)


DAMAGES = {
    "a charge the provider lost": Damage(
        "missing_at_provider", lost_by_the_provider, CONFIRMED, 15 * MINUTE, _booked(AMOUNT, fee=FEE)
    ),
    "a charge we lost": Damage("missing_here", lost_by_us, NOBODYS, 15 * MINUTE, restored),
    "another amount": Damage(
        "amount_mismatch", another_amount, LINE, 0.0, _booked(10, category="partial_capture_reversal")
    ),
    "another currency": Damage("currency_mismatch", another_currency, LINE, 0.0, exchanged),
    "the state is behind": Damage(
        "state_mismatch", behind, LINE, 10 * MINUTE, lambda place, subject: place.answered(place.of(subject))
    ),
    "charged twice": Damage("duplicate_charge", charged_twice, CONFIRMED, 0.0, given_back),
    # the provider gives back what it took too much
    "another fee": Damage("fee_mismatch", too_dear, LINE, 0.0, _booked(25, category="fee")),
    "a payout that is not its lines": Damage("payout_mismatch", short_payout, ITEMISED, 0.0, explained),
    "a dispute nobody told us of": Damage(
        "dispute_mismatch", disputed_unheard, LINE, 10 * MINUTE,
        lambda place, subject: place.answered(place.of(subject)),
    ),
    "a webhook that never came": Damage("webhook_missing", never_told, HAPPENED, HOUR, told_late),
    "stuck in its state": Damage(
        "stale_state", stuck, ENTERED, 1 * MINUTE, lambda place, subject: _wake(place, place.of(subject), "now")
    ),
    "money on a failed payment": Damage(
        "money_after_final", money_on_a_failed_payment, LINE, 0.0, _booked(-AMOUNT, category="refund")
    ),
}  # fmt: skip
