"""What a provider's own book says beyond one payment: money lines with whom they are about, payouts, the balance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.model.snapshot import Fact


@dataclass(frozen=True)
class Line:
    """One money line found in a list, and what its source tells about whose it is."""

    fact: Fact
    payment_ref: str | None  # the provider's payment object, where the line's source names one
    payment_id: str | None  # ours, from the source's metadata
    merchant_id: str | None


@dataclass(frozen=True)
class Payout:
    """One payout as the provider sees it now; amount in minor units of `currency`, times UTC."""

    ref: str
    status: str  # pending | in_transit | paid | failed | canceled
    currency: str
    amount: int
    created_at: datetime
    arrives_at: datetime
    automatic: bool
    itemised: bool  # the provider has tied its lines to it
    destination: str | None
    failure_code: str | None


@dataclass(frozen=True)
class Balance:
    """What the provider holds for us in one currency, in minor units."""

    currency: str
    pending: int
    available: int
