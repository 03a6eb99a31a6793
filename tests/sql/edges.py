"""The edges of payments, refunds and disputes and the rights of roles, kept by hand to compare the database with."""

from __future__ import annotations

STATES = (
    "initiated", "submitting", "outcome_unknown", "submitted", "requires_action", "authorized", "confirmed",
    "settled", "disputed", "refunded", "charged_back", "returned", "failed", "canceled",
)  # fmt: skip

ACTORS = ("api", "worker", "webhook", "reconciler", "operator", "system")
OBSERVERS = ("worker", "webhook", "reconciler")

# Command edges: somebody decides, and exactly these may.
COMMANDS = {
    ("initiated", "submitting"): ("payment.submission_started", ("worker",)),
    ("initiated", "canceled"): ("payment.canceled", ("api", "operator")),
    ("submitting", "canceled"): ("payment.canceled", ("api", "worker", "operator")),
    ("failed", "confirmed"): ("payment.adopted", ("operator",)),
    ("canceled", "confirmed"): ("payment.adopted", ("operator",)),
}

# Observation edges: the provider decided, and any observer may say so.
OBSERVATIONS = {
    ("initiated", "failed"): "payment.failed",
    ("submitting", "submitted"): "payment.provider_submitted",
    ("submitting", "outcome_unknown"): "payment.outcome_unknown",
    ("submitting", "failed"): "payment.failed",
    ("outcome_unknown", "submitting"): "payment.resubmitted",
    ("outcome_unknown", "submitted"): "payment.provider_submitted",
    ("outcome_unknown", "failed"): "payment.failed",
    ("outcome_unknown", "canceled"): "payment.canceled",
    ("submitted", "requires_action"): "payment.requires_action",
    ("submitted", "authorized"): "payment.authorized",
    ("submitted", "confirmed"): "payment.confirmed",
    ("submitted", "failed"): "payment.failed",
    ("submitted", "canceled"): "payment.canceled",
    ("submitted", "returned"): "payment.returned",
    ("requires_action", "submitted"): "payment.action_completed",
    ("requires_action", "authorized"): "payment.authorized",
    ("requires_action", "confirmed"): "payment.confirmed",
    ("requires_action", "failed"): "payment.failed",
    ("requires_action", "canceled"): "payment.canceled",
    ("authorized", "confirmed"): "payment.confirmed",
    ("authorized", "canceled"): "payment.canceled",
    ("authorized", "failed"): "payment.failed",
    ("confirmed", "settled"): "payment.settled",
    ("confirmed", "refunded"): "payment.refunded",
    ("confirmed", "disputed"): "payment.disputed",
    ("confirmed", "charged_back"): "payment.charged_back",
    ("confirmed", "returned"): "payment.returned",
    ("settled", "refunded"): "payment.refunded",
    ("settled", "disputed"): "payment.disputed",
    ("settled", "charged_back"): "payment.charged_back",
    ("settled", "returned"): "payment.returned",
    ("disputed", "charged_back"): "payment.charged_back",
    ("disputed", "returned"): "payment.returned",
    ("disputed", "confirmed"): "payment.dispute_resolved",
    ("disputed", "settled"): "payment.dispute_resolved",
    ("disputed", "refunded"): "payment.dispute_resolved",
    ("refunded", "disputed"): "payment.disputed",
    ("refunded", "charged_back"): "payment.charged_back",
    ("refunded", "returned"): "payment.returned",
    ("refunded", "confirmed"): "payment.refund_reversed",
    ("refunded", "settled"): "payment.refund_reversed",
    ("charged_back", "disputed"): "payment.disputed",
    ("charged_back", "confirmed"): "payment.dispute_resolved",
    ("charged_back", "settled"): "payment.dispute_resolved",
    ("charged_back", "refunded"): "payment.dispute_resolved",
    ("returned", "confirmed"): "payment.return_reversed",
    ("returned", "settled"): "payment.return_reversed",
    ("returned", "refunded"): "payment.return_reversed",
    ("returned", "disputed"): "payment.disputed",
}

# (from, to) -> event, class, actors
EDGES: dict[tuple[str, str], tuple[str, str, tuple[str, ...]]] = {
    **{pair: (event, "command", actors) for pair, (event, actors) in COMMANDS.items()},
    **{pair: (event, "observation", OBSERVERS) for pair, event in OBSERVATIONS.items()},
}

REFUND_STATES = ("requested", "submitting", "outcome_unknown", "pending", "succeeded", "failed", "canceled")
REFUND_EDGES = {
    ("requested", "submitting"): "refund.submission_started",
    ("requested", "pending"): "refund.pending",
    ("requested", "failed"): "refund.failed",
    ("submitting", "outcome_unknown"): "refund.outcome_unknown",
    ("submitting", "pending"): "refund.pending",
    ("submitting", "failed"): "refund.failed",
    ("outcome_unknown", "submitting"): "refund.resubmitted",
    ("outcome_unknown", "pending"): "refund.pending",
    ("outcome_unknown", "failed"): "refund.failed",
    ("pending", "succeeded"): "refund.succeeded",
    ("pending", "failed"): "refund.failed",
    ("pending", "canceled"): "refund.canceled",
    ("succeeded", "failed"): "refund.failed",
}

DISPUTE_STATES = ("inquiry", "open", "won", "lost", "closed")
DISPUTE_EDGES = {
    ("inquiry", "open"): "dispute.opened",
    ("inquiry", "closed"): "dispute.closed",
    ("open", "won"): "dispute.won",
    ("open", "lost"): "dispute.lost",
    ("open", "closed"): "dispute.closed",
    ("lost", "won"): "dispute.won",
    ("won", "open"): "dispute.reopened",
    ("lost", "open"): "dispute.reopened",
    ("closed", "open"): "dispute.reopened",
}

# Which actor types a database role may set.
ROLE_ACTORS: dict[str, tuple[str, ...]] = {
    "postbox_owner": ("operator", "system"),
    "postbox_api": ("api",),
    "postbox_worker": ("worker", "webhook", "reconciler"),
    "postbox_operator": ("operator", "reconciler"),
    "postbox_compliance": (),
}

# Which columns of payments a role may update; None is all of them.
UPDATES: dict[str, frozenset[str] | None] = {
    "postbox_owner": None,
    "postbox_api": frozenset({"state", "cancel_reason", "amount_refund_pending"}),
    "postbox_worker": None,
    "postbox_operator": frozenset({"state", "cancel_reason", "amount_captured", "amount_refund_pending", "observe_at"}),
    "postbox_compliance": frozenset(),
}

# Who may insert a payment at all.
INSERTS = ("postbox_owner", "postbox_api")

DENIED = "42501"
ACCEPTED = "accepted"
# payments_state_follows_the_facts, and the CHECKs.
AGAINST_THE_FACTS = "23514"


def verdict(
    role: str,
    actor: str,
    start: str,
    to: str,
    columns: frozenset[str],
    *,
    settled: bool = False,
    captures: bool = False,
) -> str:
    """What an update of `columns` from state `start` to `to` comes to: accepted, or the SQLSTATE that refuses it.

    `settled`: the payment's money is available, so it is no longer just confirmed, whatever its state. `captures`: the
    update changes what was captured. That an adoption takes two people is told elsewhere: here two have agreed.
    """
    granted = UPDATES[role]
    if granted is not None and not columns <= granted:
        return DENIED
    if actor not in ROLE_ACTORS[role]:
        return "PB002"
    if start == to:
        return ACCEPTED
    if (start, to) not in EDGES:
        return "PB001"
    if actor not in EDGES[start, to][2]:
        return "PB002"
    if captures and role == "postbox_operator" and EDGES[start, to][0] != "payment.adopted":
        return "PB002"
    return AGAINST_THE_FACTS if to == "confirmed" and settled else ACCEPTED


def topics(start: str, to: str, *, settled: bool) -> list[str]:
    """The events that an accepted step leaves; `settled`: settled_at was set before it."""
    found = [EDGES[start, to][0]] if start != to else []
    if to == "settled" and not settled and "payment.settled" not in found:
        found.append("payment.settled")
    return found
