"""Owns the truth that tests compare with: which money moved for which payment; it only reads."""

from typing import Any

from cli.sandbox.table import Row
from cli.sandbox.world import World

MAX_PAYMENTS = 100_000
CHARGE_FIELDS = (
    "id", "status", "amount", "captured", "amount_captured", "amount_refunded", "refunded", "disputed",
    "failure_code", "balance_transaction",
)  # fmt: skip


def read_ledger(world: World, where: dict[str, str], limit: int) -> Row:
    """Payments (oldest first) with their charges, refunds and disputes, and sums over what is shown.

    `where`: `payment_id` (metadata.payment_id), `payment_intent`, or `metadata.NAME`; amounts in minor units.
    """
    intents = _find(world, where)
    payments = [_payment(world, intent) for intent in intents[-limit:]]
    taken: dict[str, int] = {}
    totals: dict[str, dict[str, int]] = {"captured": {}, "refunded": {}}
    for payment in payments:
        for charge in payment["charges"]:
            if charge["status"] == "succeeded" and charge["captured"]:
                name = payment["metadata"].get("payment_id") or payment["payment_intent"]
                taken[name] = taken.get(name, 0) + 1
                for total, field in (("captured", "amount_captured"), ("refunded", "amount_refunded")):
                    sums = totals[total]
                    sums[payment["currency"]] = sums.get(payment["currency"], 0) + charge[field]
    return {
        "summary": {
            "payment_intents": len(payments),
            "charges": sum(len(payment["charges"]) for payment in payments),
            "captured_charges": sum(taken.values()),
            "authorized": sum(1 for payment in payments if payment["status"] == "requires_capture"),
            "charged_twice": sorted(name for name, count in taken.items() if count > 1),
            "captured": totals["captured"],
            "refunded": totals["refunded"],
            "balance": {status: dict(sums) for status, sums in world.balances.items()},
        },
        "payments": payments,
    }


def _find(world: World, where: dict[str, str]) -> list[Row]:
    table = world.tables["payment_intent"]
    if "payment_id" in where:
        return table.all_by("_payment_id", where["payment_id"])
    if "payment_intent" in where:
        found = table.get(where["payment_intent"])
        return [found] if found else []
    names = {name.removeprefix("metadata."): value for name, value in where.items()}
    return [
        row for row in table.rows.values() if all(row["metadata"].get(name) == value for name, value in names.items())
    ]


def _payment(world: World, intent: Row) -> Row:
    ident = intent["id"]

    def all_of(kind: str) -> list[Row]:
        return world.tables[kind].all_by("payment_intent", ident)

    payment: dict[str, Any] = {"payment_intent": ident}
    for name in (
        "status",
        "amount",
        "amount_received",
        "currency",
        "created",
        "cancellation_reason",
        "metadata",
    ):
        payment[name] = intent[name]
    payment["charges"] = [{name: row[name] for name in CHARGE_FIELDS} for row in all_of("charge")]
    payment["refunds"] = [
        {name: row[name] for name in ("id", "charge", "amount", "status", "metadata")} for row in all_of("refund")
    ]
    payment["disputes"] = [
        {name: row[name] for name in ("id", "amount", "status", "reason")} for row in all_of("dispute")
    ]
    return payment
