"""Owns balance transactions, their becoming available, and the account's balance; never what caused them."""

from typing import Any

from cli.sandbox.table import Row
from cli.sandbox.world import World, shown

CATEGORY = {
    "charge": "charge",
    "payment": "charge",
    "refund": "refund",
    "payment_refund": "refund",
    "refund_failure": "refund_failure",
    "payout": "payout",
    "payout_failure": "payout_reversal",
}


def book(
    world: World,
    kind: str,
    source: str,
    amount: int,
    currency: str,
    *,
    fee: int = 0,
    category: str | None = None,
    description: str | None = None,
    at_once: bool = False,
) -> Row:
    """Write one balance transaction: `amount` gross and `fee` in minor units, negative when money leaves.

    `available_on` is `available_after` from now (Stripe's own is days); money that leaves is gone at once.
    https://docs.stripe.com/api/balance_transactions/object
    """
    now = world.now()
    # Whole seconds, rounded up: nothing is available before the moment that `available_on` names.
    wait = 0.0 if at_once else world.timing.available_after
    available_on = int(now) if wait == 0 else int(now + wait + 0.999)
    row = world.put(
        {
            "id": world.new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": available_on,
            "balance_type": "payments",
            "created": int(now),
            "currency": currency,
            "description": description,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": _fee_details(fee, currency),
            "net": amount - fee,
            "reporting_category": category or CATEGORY[kind],
            "source": source,
            "status": "available" if wait == 0 else "pending",
            "type": kind,
            "_payout": None,
        }
    )
    if wait:
        # A short wait (a scaled clock) is kept as it is: `available_on` only speaks whole seconds.
        world.schedule("release", row["id"], wait if wait < 1 else available_on - now)
    return row


def _fee_details(fee: int, currency: str) -> list[Row]:
    if not fee:
        return []
    return [
        {
            "amount": fee,
            "application": None,
            "currency": currency,
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]


def release(world: World, ident: str) -> None:
    """Make a balance transaction available, and tell about the balance."""
    row = world.get("balance_transaction", ident)
    if row is None or row["status"] == "available":
        return
    row["status"] = "available"
    world.put(row)
    if world.next_due_verb() != "release":
        # One event for a run of releases, as Stripe sends one for a day's balance.
        world.emit("balance.available", render_balance(world))


def render_balance(world: World, _ident: str = "", _params: Any = None) -> Row:
    """The account's balance (https://docs.stripe.com/api/balance/balance_object), from running sums."""

    def lines(status: str) -> list[Row]:
        sums = world.balances[status] or {"usd": 0}
        return [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sorted(sums.items())
        ]

    return {
        "object": "balance",
        "available": lines("available"),
        "livemode": False,
        "pending": lines("pending"),
        "refund_and_dispute_prefunding": {"available": [], "pending": []},
    }


def render_transaction(row: Row) -> Row:
    return shown(row)
