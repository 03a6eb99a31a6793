"""The circuit of one provider account, a database row: open after failures in a row, one probe at a time while open."""

from __future__ import annotations

from app.config import PLATFORM_MERCHANT_ID, Timing
from app.db import Tx

# This many calls in a row without an answer open the circuit; one that says our key is bad opens it at once.
FAILURES_TO_OPEN = 5


def admission_wait(tx: Tx, provider: str, account: str, timing: Timing) -> float:
    """Seconds to wait before a call may go out; 0 lets it through, as the one probe if the circuit is open."""
    row = tx.one(
        "circuits.admit",
        merchant_id=PLATFORM_MERCHANT_ID,
        provider=provider,
        account=account,
        open_for=timing.circuit_open,
    )
    assert row is not None, "the admission query always answers"
    return float(row["wait"])


def count_failure(tx: Tx, provider: str, account: str, timing: Timing, *, reason: str, at_once: bool = False) -> None:
    """One more call without an answer. `at_once` opens the circuit whatever went before: our key was refused."""
    tx.run(
        "circuits.count_failure",
        merchant_id=PLATFORM_MERCHANT_ID,
        provider=provider,
        account=account,
        open_for=timing.circuit_open,
        threshold=FAILURES_TO_OPEN,
        reason=reason,
        at_once=at_once,
    )


def close(tx: Tx, provider: str, account: str) -> None:
    """The provider answered: the circuit is closed and forgets."""
    tx.run("circuits.close", merchant_id=PLATFORM_MERCHANT_ID, provider=provider, account=account)
