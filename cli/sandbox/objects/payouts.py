"""Owns payouts to the bank: by hand from what is available, or automatic with the transactions they pay out."""

from typing import Any

from cli.sandbox.errors import invalid, missing, missing_param, refused
from cli.sandbox.money import check_currency
from cli.sandbox.objects.balance import book
from cli.sandbox.table import Row
from cli.sandbox.world import World, shown


def create_payout(world: World, _ident: str, params: dict[str, Any]) -> Row:
    """POST /v1/payouts; `amount` in minor units; a manual payout's transactions cannot be listed by payout."""
    for name in ("amount", "currency"):
        if name not in params:
            raise missing_param(name)
    currency = check_currency(params["currency"])
    if params["amount"] < 1:
        raise invalid("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    return shown(_pay_out(world, params["amount"], currency, False, params))


def make_automatic_payout(world: World, currency: str, short: int = 0) -> Row:
    """Pay out everything that is available, and tie each transaction to the payout (as Stripe does daily).

    `short` minor units less than that is what Stripe never does.
    """
    due = [
        row
        for row in world.tables["balance_transaction"].rows.values()
        if row["status"] == "available" and row["_payout"] is None and row["currency"] == currency
    ]
    payout = _pay_out(world, sum(row["net"] for row in due) - short, currency, True, {})
    own = world.tables["balance_transaction"].rows[payout["balance_transaction"]]
    for row in (*due, own):
        row["_payout"] = payout["id"]
        world.put(row)
    return shown(payout)


def _pay_out(world: World, amount: int, currency: str, automatic: bool, params: dict[str, Any]) -> Row:
    if amount < 1 or amount > world.balances["available"].get(currency, 0):
        raise refused(
            "You have insufficient funds in your Stripe account for this payout.",
            code="balance_insufficient",
            param="amount",
        )
    now = world.now()
    payout: Row = {
        "id": world.new_id("po"),
        "object": "payout",
        "amount": amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": int(now + world.timing.payout_after),
        "automatic": automatic,
        "balance_transaction": None,
        "created": int(now),
        "currency": currency,
        "description": params.get("description"),
        "destination": "ba_sandbox",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": params.get("metadata") or {},
        "method": params.get("method", "standard"),
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "in_progress" if automatic else "not_applicable",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": params.get("statement_descriptor"),
        "status": "pending",
        "trace_id": {"status": "pending", "value": None},
        "type": "bank_account",
    }
    payout["balance_transaction"] = book(world, "payout", payout["id"], -amount, currency, at_once=True)["id"]
    world.put(payout)
    world.emit("payout.created", payout)
    world.schedule("send_payout", payout["id"], world.timing.payout_after / 2)
    return payout


def send_payout(world: World, ident: str) -> None:
    """The payout is on its way, and an automatic one is now itemised."""
    payout = find_payout(world, ident)
    if payout["status"] != "pending":
        return
    payout["status"] = "in_transit"
    world.put(payout)
    world.emit("payout.updated", payout, {"status": "pending"})
    if payout["automatic"]:
        payout["reconciliation_status"] = "completed"
        world.put(payout)
        world.emit("payout.reconciliation_completed", payout)
    world.schedule("arrive_payout", ident, world.timing.payout_after / 2)


def arrive_payout(world: World, ident: str) -> None:
    payout = find_payout(world, ident)
    if payout["status"] != "in_transit":
        return
    payout["status"] = "paid"
    payout["trace_id"] = {"status": "supported", "value": "TRACE" + ident[-8:].upper()}
    world.put(payout)
    world.emit("payout.paid", payout)


def fail_payout(world: World, ident: str) -> Row:
    """The bank sends the payout back, even one that counted as paid; the money is available again."""
    payout = find_payout(world, ident)
    if payout["status"] in ("failed", "canceled"):
        raise refused(f"The payout has a status of {payout['status']}.")
    payout["status"] = "failed"
    payout["failure_code"] = "account_closed"
    payout["failure_message"] = "The bank account has been closed."
    row = book(world, "payout_failure", ident, payout["amount"], payout["currency"], at_once=True)
    payout["failure_balance_transaction"] = row["id"]
    world.put(payout)
    world.emit("payout.failed", payout)
    return shown(payout)


def cancel_payout(world: World, ident: str, _params: dict[str, Any]) -> Row:
    """POST /v1/payouts/{id}/cancel: only while it is pending."""
    payout = find_payout(world, ident)
    if payout["status"] != "pending":
        raise refused(f"Payouts can only be canceled while they are pending; this one is {payout['status']}.")
    payout["status"] = "canceled"
    row = book(
        world,
        "payout_cancel",
        ident,
        payout["amount"],
        payout["currency"],
        at_once=True,
        category="payout_reversal",
    )
    payout["failure_balance_transaction"] = row["id"]
    world.put(payout)
    world.emit("payout.canceled", payout)
    return shown(payout)


def find_payout(world: World, ident: str) -> Row:
    payout = world.get("payout", ident)
    if payout is None:
        raise missing("payout", ident, "payout")
    return payout
