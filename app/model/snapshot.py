"""What a provider says about one object now, in our words, however we learned it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ProviderStatus(StrEnum):
    """The provider's own lifecycle of one payment, in our words."""

    CREATED = "created"  # exists, cannot move money until we confirm it
    ACTION_REQUIRED = "action_required"
    PROCESSING = "processing"
    CAPTURABLE = "capturable"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


# Monotone: a snapshot of an open payment below the stored rank is stale.
PROVIDER_RANK: dict[ProviderStatus, int] = {
    ProviderStatus.CREATED: 10,
    ProviderStatus.ACTION_REQUIRED: 20,
    ProviderStatus.PROCESSING: 30,
    ProviderStatus.CAPTURABLE: 40,
    ProviderStatus.SUCCEEDED: 50,
    ProviderStatus.FAILED: 100,
    ProviderStatus.CANCELED: 100,
}


@dataclass(frozen=True)
class NextAction:
    """What the payer has to do: `type` such as redirect, and where."""

    type: str
    redirect_url: str | None


@dataclass(frozen=True)
class Fact:
    """One money line of the provider (balance transaction); amounts in minor units of `currency`, times UTC."""

    ref: str
    kind: str  # the provider's reporting category: charge, refund, dispute, ...
    source_ref: str | None  # the charge, refund or dispute it belongs to
    currency: str
    gross: int
    fee: int
    net: int
    status: str  # pending | available
    available_on: datetime
    created_at: datetime
    exchanged: bool = False  # the provider converted it: its currency may differ from the payment's


class RefundStatus(StrEnum):
    """The provider's own lifecycle of one refund, in our words."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class RefundSnapshot:
    """One refund as its provider sees it now; `amount` in minor units of `currency`, times UTC."""

    ref: str
    status: RefundStatus
    provider_status: str  # the provider's word for it
    currency: str
    amount: int
    created_at: datetime
    reason: str | None = None
    failure_reason: str | None = None
    refund_id: str | None = None  # from the metadata we sent
    operation_id: str | None = None
    fact: Fact | None = None  # the money line that took it
    returned: Fact | None = None  # and the one that brought it back


class DisputeStatus(StrEnum):
    """The provider's own lifecycle of one dispute, in our words."""

    INQUIRY = "inquiry"
    OPEN = "open"
    WON = "won"
    LOST = "lost"
    CLOSED = "closed"


@dataclass(frozen=True)
class DisputeSnapshot:
    """One dispute as its provider sees it now; `amount` in minor units of `currency`, times UTC."""

    ref: str
    status: DisputeStatus | None  # None: a word that we do not know
    provider_status: str
    currency: str
    amount: int
    created_at: datetime
    appealed: bool = False  # open again after it was lost
    reason: str | None = None
    evidence_due_at: datetime | None = None
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """One payment as its provider sees it now; amounts in minor units of `currency`, times UTC."""

    provider: str
    account: str
    ref: str
    status: ProviderStatus
    currency: str
    amount: int
    amount_capturable: int = 0
    amount_captured: int = 0
    amount_authorized: int | None = None
    charge_ref: str | None = None
    method_last4: str | None = None  # four digits
    capture_before: datetime | None = None
    next_action: NextAction | None = None
    action_taken: bool = False  # the payer was challenged, even if we never saw it pending
    failure_code: str | None = None
    failure_message: str | None = None
    failure_retryable: bool = False
    cancel_reason: str | None = None
    closed: bool = False  # canceled at the provider: nothing can move it any more, whatever its status tells
    payment_id: str | None = None  # from the metadata we sent
    merchant_id: str | None = None
    operation_id: str | None = None
    facts: tuple[Fact, ...] = ()
    created_at: datetime | None = None
    # what the charge itself says of its refunds and disputes
    amount_refunded: int = 0
    disputed: bool = False
    # None: not asked about
    refunds: tuple[RefundSnapshot, ...] | None = None
    disputes: tuple[DisputeSnapshot, ...] | None = None

    @property
    def rank(self) -> int:
        return PROVIDER_RANK[self.status]
