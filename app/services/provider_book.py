"""Stores what a provider's own book says: its money lines, whoever's they are, its payouts, its balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.config import PLATFORM_MERCHANT_ID, Timing
from app.db import Tx
from app.db.pool import Row
from app.model.provider_book import Balance, Line, Payout


def store_lines(tx: Tx, provider: str, account: str, lines: Sequence[Line]) -> int:
    """Store what is new about these lines: under their payment's merchant, else under the platform, in suspense.

    A payment that gets a line is observed, because what made the line may not have reached it. Returns how many
    lines were new, changed or matched.
    """
    refs = [line.fact.ref for line in lines]
    known = {
        row["ref"]: row for row in tx.all("provider_transactions.known", provider=provider, account=account, refs=refs)
    }
    news = [line for line in lines if _is_news(line, known.get(line.fact.ref))]
    owners = _owners(tx, provider, account, news)
    # payments before lines, and in the one lock order
    for merchant_id, payment_id in sorted(set(owners.values())):
        tx.one("payments.lock", merchant_id=merchant_id, payment_id=payment_id)
    stored = 0
    for line in news:
        owner = owners.get(line.fact.ref)
        changed = _store(tx, provider, account, line, *(owner or (PLATFORM_MERCHANT_ID, None)))
        stored += changed
        if changed and owner is not None:
            tx.one("payments.observe_now", merchant_id=owner[0], payment_id=owner[1])
    return stored


def _is_news(line: Line, known: Row | None) -> bool:
    """An available line that has its payment changes no more, but that it was exchanged may be told late."""
    if known is None or known["payment_id"] is None:
        return True
    return (known["status"], known["exchanged"]) != (line.fact.status, line.fact.exchanged)


def _owners(tx: Tx, provider: str, account: str, lines: Sequence[Line]) -> dict[str, tuple[UUID, UUID]]:
    """Whose each line is, by the provider's references and then by the ids our metadata carries."""
    if not lines:
        return {}
    rows = tx.all(
        "provider_transactions.owners",
        provider=provider,
        account=account,
        refs=[line.fact.ref for line in lines],
        source_refs=[line.fact.source_ref for line in lines],
        payment_refs=[line.payment_ref for line in lines],
        payment_ids=[line.payment_id for line in lines],
        merchant_ids=[line.merchant_id for line in lines],
    )
    return {row["ref"]: (row["merchant_id"], row["payment_id"]) for row in rows}


def _store(tx: Tx, provider: str, account: str, line: Line, merchant_id: Any, payment_id: Any) -> int:
    fact = line.fact
    return tx.run(
        "provider_transactions.upsert",
        merchant_id=merchant_id,
        payment_id=payment_id,
        refund_id=None,  # the payment is observed next: then the line finds what it is of
        dispute_id=None,
        provider=provider,
        account=account,
        ref=fact.ref,
        kind=fact.kind,
        source_ref=fact.source_ref,
        currency=fact.currency,
        gross=fact.gross,
        fee=fact.fee,
        net=fact.net,
        status=fact.status,
        available_on=fact.available_on,
        created_at=fact.created_at,
        exchanged=fact.exchanged,
    )


def store_payout(tx: Tx, merchant_id: Any, provider: str, account: str, payout: Payout) -> None:
    """The payout as it is now; one that ended never goes back, but a paid one may still fail."""
    tx.run(
        "payouts.upsert",
        merchant_id=merchant_id,
        provider=provider,
        account=account,
        ref=payout.ref,
        status=payout.status,
        currency=payout.currency,
        amount=payout.amount,
        created_at=payout.created_at,
        arrives_at=payout.arrives_at,
        automatic=payout.automatic,
        destination=payout.destination,
        failure_code=payout.failure_code,
    )


def itemise(tx: Tx, provider: str, account: str, ref: str, lines: Sequence[Line]) -> None:
    """These lines were paid out by the payout `ref`."""
    tx.run(
        "provider_transactions.assign_payout",
        provider=provider,
        account=account,
        payout_ref=ref,
        refs=[line.fact.ref for line in lines],
    )


def lines_are_read(tx: Tx, merchant_id: Any, provider: str, account: str, ref: str) -> None:
    """Every line of an automatic payout is known from here on."""
    tx.run("payouts.lines_read", merchant_id=merchant_id, provider=provider, account=account, ref=ref)


def compare_payout(tx: Tx, merchant_id: Any, provider: str, account: str, ref: str, *, timing: Timing) -> Row:
    """A payout whose lines are read is their sum, or that is a discrepancy. Returns `expected` and `actual`."""
    row = tx.one(
        "payouts.compare", merchant_id=merchant_id, provider=provider, account=account, ref=ref, scale=timing.silence
    )
    assert row is not None, "a comparison always answers"
    return row


def compare_unread_payouts(tx: Tx, *, limit: int, timing: Timing) -> int:
    """Payouts that nobody has itemised for too long: how many were opened as discrepancies."""
    row = tx.one("payouts.compare_unread", scale=timing.silence, limit=limit)
    assert row is not None, "a comparison always answers"
    return int(row["opened"])


def ask_about_unread_payouts(tx: Tx, provider: str, account: str, *, limit: int, every: float) -> int:
    """Read each payout that was not itemised once more in this window of `every` seconds; how many are asked about."""
    return tx.run(
        "reconciliation_runs.ask_about_unread_payouts", provider=provider, account=account, limit=limit, every=every
    )


def compare_balance(
    tx: Tx, merchant_id: Any, provider: str, account: str, balances: Sequence[Balance], *, final: bool
) -> list[Row]:
    """Our books against the provider's balance by currency: `expected`, `actual`. `final` records what differs."""
    told = [{"currency": b.currency, "pending": b.pending, "available": b.available} for b in balances]
    return tx.all(
        "payouts.compare_balance",
        merchant_id=merchant_id,
        provider=provider,
        account=account,
        balances={"told": told},
        final=final,
    )


def prove_again(
    tx: Tx, provider: str, account: str, *, asked_by: str, subject: str | None = None, every: float = 1.0
) -> int:
    """Ask for one more proof of a balance that differs: once for `subject`, or for this window of `every` seconds."""
    return tx.run(
        "reconciliation_runs.prove_again",
        provider=provider,
        account=account,
        subject=subject,
        every=every,
        asked_by=asked_by,
    )


# Sorts before every key there can be.
_FIRST = UUID(int=0)


@dataclass(frozen=True)
class PayoutPlace:
    """Where a walk over payouts is."""

    merchant_id: UUID = _FIRST
    provider: str = ""
    account: str = ""
    ref: str = ""


def compare_payouts(tx: Tx, at: PayoutPlace, *, limit: int, timing: Timing) -> tuple[int, int, PayoutPlace | None]:
    """Compare a page of payouts by hand: how many were opened and closed, and where the next page begins."""
    rows = tx.all("payouts.compare_page", **vars(at), limit=limit, scale=timing.silence)
    following = PayoutPlace(**{name: rows[-1][name] for name in vars(at)}) if len(rows) == limit else None
    return sum(row["opened"] for row in rows), sum(row["closed"] for row in rows), following


def preview(tx: Tx, *, timing: Timing) -> list[Row]:
    """What comparing the lines that are nobody's, and the payouts, would open and close."""
    return tx.all("payouts.preview", scale=timing.silence)


def compare_lines(tx: Tx, *, limit: int, timing: Timing, detected_by: str) -> Row:
    """Lines that are nobody's: how many were opened as discrepancies, and how many closed."""
    row = tx.one("payouts.compare_lines", scale=timing.silence, limit=limit, detected_by=detected_by)
    assert row is not None, "a comparison always answers"
    return row
