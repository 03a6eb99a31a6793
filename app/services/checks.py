"""The global invariants: one named query each, returning the rows that break it; `postbox check` and tests run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.config import Timing
from app.db.pool import Tx

# The rows of one broken invariant that are shown; one is enough to be wrong.
ROWS_PER_INVARIANT = 100

# Every query of sql/queries/checks, and what it holds to be true.
INVARIANTS = {
    "audit_counts_every_version": "every payment has exactly one audit entry per version",
    "audit_tells_the_row": "a payment's audit entries, applied in order, give its row",
    "audit_hashes_hold": "every audit entry has the hash it was written with",
    "evidence_is_audited": "every provider call and webhook has its audit entries",
    "events_tell_the_history": "a payment's events are those of the legal edges it walked, in order",
    "events_are_delivered_to_subscribers": "every event has exactly the deliveries its subscribers are owed",
    "one_open_operation": "a payment has at most one open submit, capture or cancel",
    "leases_end": "nothing is in flight past its lease",
    "calls_end": "every provider call has an end, or a follow-up after the crash that cut it off",
    "keys_rise_only_with_proof": "a further idempotency key rests on proof that the last one had no effect",
    "deliveries_move": "every pending delivery has a job or a due time ahead",
    "ended_deliveries_hold_no_job": "a delivery that ended holds no job",
    "dead_letters_are_handled": "no dead letter is open (only with --quiesced)",
    "settled_means_available": "a settled payment has an available charge at the provider",
    "captured_is_what_the_provider_took": "the captured amount is the sum of the provider's charges",
    "closed_payments_hold_no_money": "no failed or canceled payment holds money",
    "webhooks_became_events": "every stored webhook became one event",
    "idempotency_keys_hold_an_answer": "every idempotency key holds the answer that was given",
    "ledger_entries_sum_to_zero": "every ledger entry has two lines or more and sums to zero per currency",
    "ledger_lines_are_as_audited": "every ledger entry has the lines that its audit entry tells",
    "ledger_balances_are_their_lines": "every merchant's balance is the sum of its account's lines",
    "ledger_is_folded": "nothing that was posted to a merchant is missing from a balance",
    "clearing_is_zero": "our books and the provider's meet: clearing is zero per payment beyond its grace",
    "credits_follow_the_state": "what is confirmed is credited, what is settled leaves nothing in pending",
    "facts_are_booked": "every money line of the provider is in the books",
    "discrepancies_are_what_is_found": "what is open is what comparing a payment's books finds",
    "children_add_up": "a payment's refunded, disputed and lost amounts are what its refunds and disputes come to",
    "refunds_fit_what_was_captured": "no more is refunded, or about to be, than was captured",
    "states_follow_the_facts": "a confirmed payment is in the state that its facts say",
    "children_are_audited": "every refund and dispute has exactly one audit entry per version",
    "refunds_follow_their_operations": "a refund asked of us ends with the operation that carries it out",
    "refunds_in_flight_are_under_way": "what is between merchant and provider belongs to refunds under way",
    "dispute_lines_are_booked": "every money line of a dispute is in our side's books",
    "payouts_are_their_lines": "every itemised payout of the provider is the sum of its lines",
    "merchant_payouts_are_in_flight": "what is between us and merchants' banks belongs to payouts under way",
}


@dataclass(frozen=True)
class Violation:
    """One row that breaks an invariant."""

    invariant: str
    merchant_id: str
    payment_id: str | None
    detail: str


def grace(timing: Timing) -> float:
    """Seconds in which a crash may still be on its way to being noticed: a lease, a silent worker, two sweeps."""
    return timing.lease + timing.worker_stalled + 2 * timing.sweep_jobs


def clearing_grace(timing: Timing) -> float:
    """Seconds in which one hand may be ahead of the other: a missing charge line is asked for at this distance."""
    return grace(timing) + timing.settle_recheck


def violations(
    tx: Tx,
    *,
    quiesced: bool = False,
    payment_id: Any = None,
    timing: Timing | None = None,
    names: Sequence[str] = tuple(INVARIANTS),
) -> list[Violation]:
    """Every row that breaks an invariant, of one payment or of all. `quiesced`: nothing is pending, no grace is due.

    Each invariant is one statement and so one snapshot: traffic meanwhile breaks none of them, and two transactions may
    share them out.
    """
    found = []
    timing = timing or Timing()
    answers = tx.each(
        [f"checks.{name}" for name in names],
        payment_id=payment_id,
        quiesced=quiesced,
        grace=0.0 if quiesced else grace(timing),
        clearing_grace=clearing_grace(timing),
        silence=timing.silence,
        limit=ROWS_PER_INVARIANT,
    )
    for name, rows in zip(names, answers, strict=True):
        found += [
            Violation(name, str(r["merchant_id"]), r["payment_id"] and str(r["payment_id"]), r["detail"]) for r in rows
        ]
    return found
