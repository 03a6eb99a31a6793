"""Owns refunds: what may be refunded, and how a refund ends; never the payment intent."""

from typing import Any

from cli.sandbox.errors import invalid, missing, missing_param, refused
from cli.sandbox.objects.balance import book
from cli.sandbox.objects.payment_intents import find_intent, merge_metadata
from cli.sandbox.objects.payment_methods import find_method
from cli.sandbox.table import Row
from cli.sandbox.world import World, shown

Params = dict[str, Any]


def create_refund(world: World, _ident: str, params: Params) -> Row:
    """POST /v1/refunds; `amount` in minor units, by default all that is left (docs.stripe.com/api/refunds/create)."""
    charge = _charge_of(world, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if charge["disputed"] and charge["_dispute_open"]:
        raise refused(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
            charge=charge["id"],
        )
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise refused(
            f"Charge {charge['id']} is not captured, so it cannot be refunded. Cancel the PaymentIntent instead.",
            charge=charge["id"],
        )
    if left == 0:
        raise refused(
            f"Charge {charge['id']} has already been refunded.",
            code="charge_already_refunded",
            charge=charge["id"],
        )
    if amount < 1:
        raise invalid("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > left:
        raise refused(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).",
            param="amount",
            charge=charge["id"],
        )
    method = find_method(charge["payment_method"])
    card = method.type == "card"
    pending = not card or method.refund == "pending"
    refund = {
        "id": world.new_id("re" if card else "pyr"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": int(world.now()),
        "currency": charge["currency"],
        "destination_details": _destination(card),
        "metadata": params.get("metadata") or {},
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending" if pending else "succeeded",
        "transfer_reversal": None,
    }
    if pending:
        refund["pending_reason"] = "processing"
    row = book(
        world,
        "refund" if card else "payment_refund",
        refund["id"],
        -amount,
        charge["currency"],
        description="REFUND FOR CHARGE" if charge["description"] is None else f"REFUND: {charge['description']}",
    )
    refund["balance_transaction"] = row["id"]
    world.put(refund)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    world.put(charge)
    world.emit("refund.created", refund)
    world.emit("charge.refunded", charge)
    if pending:
        world.schedule("refund", refund["id"], world.timing.refund_after)
    elif method.refund == "failed":
        world.schedule("fail_refund", refund["id"], world.timing.refund_after)
    return shown(refund)


def _destination(card: bool) -> Row:
    if not card:
        return {"type": "us_bank_transfer", "us_bank_transfer": {"reference": None, "reference_status": None}}
    return {
        "type": "card",
        "card": {
            "reference_status": "pending",
            "reference_type": "acquirer_reference_number",
            "type": "refund",
        },
    }


def _charge_of(world: World, params: Params) -> Row:
    if "charge" in params:
        charge = world.get("charge", params["charge"])
        if charge is None:
            raise missing("charge", params["charge"], "charge", status=400)
        if "payment_intent" in params and charge["payment_intent"] != params["payment_intent"]:
            raise invalid("The charge does not belong to the payment_intent.", param="payment_intent")
        return charge
    if "payment_intent" not in params:
        raise missing_param("payment_intent")
    if world.get("payment_intent", params["payment_intent"]) is None:
        raise missing("payment_intent", params["payment_intent"], "payment_intent", status=400)
    intent = find_intent(world, params["payment_intent"])
    if intent["latest_charge"] is None or intent["status"] not in ("succeeded", "requires_capture"):
        raise refused(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            param="payment_intent",
        )
    return world.tables["charge"].rows[intent["latest_charge"]]


def succeed_refund(world: World, ident: str) -> None:
    """A pending refund arrives."""
    refund = find_refund(world, ident)
    if refund["status"] != "pending":
        return
    refund["status"] = "succeeded"
    refund.pop("pending_reason", None)
    world.put(refund)
    world.emit("refund.updated", refund, {"status": "pending"})


def fail_refund(world: World, ident: str, reason: str = "lost_or_stolen_card") -> Row:
    """A refund fails, even after it succeeded: the money comes back (docs.stripe.com/refunds#failed-refunds)."""
    refund = find_refund(world, ident)
    if refund["status"] not in ("pending", "succeeded"):
        raise refused(f"The refund has a status of {refund['status']}.")
    before = refund["status"]
    row = book(world, "refund_failure", refund["id"], refund["amount"], refund["currency"])
    refund["status"] = "failed"
    refund["failure_reason"] = reason
    refund["failure_balance_transaction"] = row["id"]
    refund.pop("pending_reason", None)
    world.put(refund)
    charge = world.tables["charge"].rows[refund["charge"]]
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    world.put(charge)
    world.emit("refund.updated", refund, {"status": before})
    world.emit("refund.failed", refund)
    return shown(refund)


def cancel_refund(world: World, ident: str, _params: Params) -> Row:
    """POST /v1/refunds/{id}/cancel: only one that still requires action can be canceled, and none here does."""
    refund = find_refund(world, ident)
    raise refused(
        f"Refund {ident} has a status of {refund['status']}: "
        "only a refund with the status requires_action can be canceled."
    )


def update_refund(world: World, ident: str, params: Params) -> Row:
    refund = find_refund(world, ident)
    if "metadata" in params:
        merge_metadata(refund, params["metadata"])
        world.put(refund)
        world.emit("refund.updated", refund)
    return shown(refund)


def find_refund(world: World, ident: str) -> Row:
    refund = world.get("refund", ident)
    if refund is None:
        raise missing("refund", ident, "refund")
    return refund
