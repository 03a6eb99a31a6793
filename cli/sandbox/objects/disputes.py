"""Owns disputes: opening, evidence, and how they end, with the money each step moves."""

from typing import Any

from cli.sandbox.errors import missing, refused
from cli.sandbox.money import DISPUTE_FEE
from cli.sandbox.objects.balance import book
from cli.sandbox.objects.payment_intents import merge_metadata
from cli.sandbox.params import TYPES
from cli.sandbox.table import Row
from cli.sandbox.world import World, shown

# What can be sent is what is shown; an appeal is newer than the published description and is not served.
EVIDENCE = tuple(name for name in TYPES["DisputeUpdateParamsEvidence"] if name != "appeal")
OPEN = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")
APPEALED = ("appeal_needs_response", "appeal_under_review")
DAY = 86400


def open_dispute(
    world: World,
    charge_id: str,
    reason: str = "fraudulent",
    status: str = "needs_response",
    amount: int | None = None,
) -> Row:
    """A bank disputes a charge: `amount` (minor units, default all) is withdrawn, unless it is an inquiry.

    A bank debit's late failure arrives as a dispute that is lost from the start
    (docs.stripe.com/payments/ach-direct-debit).
    """
    charge = world.get("charge", charge_id)
    if charge is None:
        raise missing("charge", charge_id, "charge")
    if charge["status"] != "succeeded" or not charge["captured"] or charge["_dispute_open"]:
        raise refused("Only a captured charge without an open dispute can be disputed.", charge=charge_id)
    card = charge["payment_method_details"]["type"] == "card"
    dispute: Row = {
        "id": world.new_id("du"),
        "object": "dispute",
        "amount": charge["amount_captured"] if amount is None else amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": int(world.now()),
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": int(world.now()) + 7 * DAY,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": status.startswith("warning"),
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "status": "needs_response" if status == "lost" else status,
    }
    if card:
        brand = charge["payment_method_details"]["card"]["brand"]
        kind = "inquiry" if status.startswith("warning") else "chargeback"
        dispute["payment_method_details"] = {
            "type": "card",
            "card": {"brand": brand, "case_type": kind, "network": brand, "network_reason_code": "10.4"},
        }
    charge["disputed"] = True
    charge["_dispute_open"] = not status.startswith("warning")
    world.put(charge)
    world.put(dispute)
    if status == "lost":
        dispute["status"] = "lost"
    world.emit("charge.dispute.created", dispute)
    if not status.startswith("warning"):
        _move(world, dispute, -dispute["amount"], DISPUTE_FEE if card else 0, "charge.dispute.funds_withdrawn")
    if status == "lost":
        world.emit("charge.dispute.closed", dispute)
    return shown(dispute)


def _move(world: World, dispute: Row, amount: int, fee: int, topic: str) -> None:
    category = "dispute" if amount < 0 else "dispute_reversal"
    row = book(
        world,
        "adjustment",
        dispute["id"],
        amount,
        dispute["currency"],
        fee=fee,
        category=category,
        description=f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for {dispute['charge']}",
    )
    dispute["balance_transactions"] = [*dispute["balance_transactions"], shown(row)]
    world.put(dispute)
    world.emit(topic, dispute)


def update_dispute(world: World, ident: str, params: dict[str, Any]) -> Row:
    """POST /v1/disputes/{id}; the published test evidence decides it (docs.stripe.com/testing#disputes)."""
    dispute = find_dispute(world, ident)
    if dispute["status"] not in OPEN:
        raise refused(f"This dispute is already closed: it has a status of {dispute['status']}.")
    if "metadata" in params:
        merge_metadata(dispute, params["metadata"])
    given = params.get("evidence") or {}
    if given:
        dispute["evidence"] = {**dispute["evidence"], **given}
        dispute["evidence_details"] = {**dispute["evidence_details"], "has_evidence": True}
    if given and params.get("submit", True):
        dispute["evidence_details"]["submission_count"] += 1
        dispute["status"] = "warning_under_review" if dispute["status"].startswith("warning") else "under_review"
    world.put(dispute)
    world.emit("charge.dispute.updated", dispute)
    text = dispute["evidence"]["uncategorized_text"]
    if given and params.get("submit", True) and text in ("winning_evidence", "losing_evidence"):
        return win_dispute(world, ident) if text == "winning_evidence" else lose_dispute(world, ident)
    return shown(dispute)


def close_dispute(world: World, ident: str, _params: dict[str, Any]) -> Row:
    """POST /v1/disputes/{id}/close: accept it, which is losing it."""
    return lose_dispute(world, ident)


def win_dispute(world: World, ident: str) -> Row:
    """The bank decides for the merchant: the amount comes back, Stripe's fee does not."""
    dispute = find_dispute(world, ident)
    inquiry = dispute["status"].startswith("warning")
    if dispute["status"] not in (*OPEN, *APPEALED, "lost"):
        raise refused(f"The dispute has a status of {dispute['status']}.")
    dispute["status"] = "warning_closed" if inquiry else "won"
    _close(world, dispute)
    if not inquiry:
        _move(world, dispute, dispute["amount"], 0, "charge.dispute.funds_reinstated")
    return shown(dispute)


def lose_dispute(world: World, ident: str) -> Row:
    """The bank decides for its customer: what was withdrawn stays withdrawn."""
    dispute = find_dispute(world, ident)
    if dispute["status"] not in (*OPEN, *APPEALED):
        raise refused(f"This dispute is already closed: it has a status of {dispute['status']}.")
    if dispute["status"].startswith("warning"):
        _move(world, dispute, -dispute["amount"], DISPUTE_FEE, "charge.dispute.funds_withdrawn")
    dispute["status"] = "lost"
    _close(world, dispute)
    return shown(dispute)


def set_dispute_status(world: World, ident: str, status: str) -> Row:
    """Give a dispute any status, an appeal's or one that nobody knows yet; no money moves."""
    dispute = find_dispute(world, ident)
    before, dispute["status"] = dispute["status"], status
    world.put(dispute)
    world.emit("charge.dispute.updated", dispute, {"status": before})
    return shown(dispute)


def _close(world: World, dispute: Row) -> None:
    charge = world.tables["charge"].rows[dispute["charge"]]
    # A lost charge stays unrefundable: its money has already gone back to the payer.
    charge["_dispute_open"] = dispute["status"] == "lost"
    world.put(charge)
    world.put(dispute)
    world.emit("charge.dispute.closed", dispute)


def find_dispute(world: World, ident: str) -> Row:
    dispute = world.get("dispute", ident)
    if dispute is None:
        raise missing("dispute", ident, "dispute")
    return dispute
