"""Owns what a provider should never do to its books: lines that are wrong, too many, missing, or told by halves."""

from cli.sandbox.errors import missing
from cli.sandbox.objects.balance import book
from cli.sandbox.table import Row
from cli.sandbox.world import World, shown


def write_line(
    world: World,
    source: str,
    amount: int,
    *,
    fee: int = 0,
    currency: str = "usd",
    category: str = "charge",
    payout: str | None = None,
) -> Row:
    """Book any line about any object, and tell of the charge or the payout that has one more now."""
    row = book(world, "adjustment", source, amount, currency, fee=fee, category=category, at_once=payout is not None)
    charge = world.get("charge", source)
    if charge is not None:
        charge["balance_transaction"] = charge["balance_transaction"] or row["id"]
        world.put(charge)
        world.emit("charge.updated", charge)
    if payout is not None:
        paid = world.get("payout", payout)
        if paid is None:
            raise missing("payout", payout, "payout")
        row["_payout"] = payout
        world.put(row)
        world.emit("payout.updated", paid)
    return shown(row)


def exchange_line(world: World, ident: str, rate: float) -> Row:
    """Say late that this line was converted, and at what rate; Stripe tells of no change to a balance transaction."""
    row = world.get("balance_transaction", ident)
    if row is None:
        raise missing("balance_transaction", ident, "id")
    row["exchange_rate"] = rate
    world.put(row)
    return shown(row)
