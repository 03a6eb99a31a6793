"""The provider protocol: what every adapter can be asked, in terms the rest of the system shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from app.model.outcome import Reply
from app.model.webhook_event import WebhookEvent


class Step(StrEnum):
    """One HTTP request of an operation, or a question that moves nothing."""

    CREATE = "create"
    CONFIRM = "confirm"
    CAPTURE = "capture"
    CANCEL = "cancel"
    CLOSE = "close"  # cancel the object of a payment that already failed, or an orphan
    REFUND = "refund"
    FETCH = "fetch"
    LIST_REFUNDS = "list_refunds"  # of one payment
    LIST_DISPUTES = "list_disputes"
    LIST_RECENT = "list_recent"
    # the account as a whole
    LIST_EVENTS = "list_events"
    LIST_LINES = "list_lines"
    LIST_PAYOUT_LINES = "list_payout_lines"
    FETCH_PAYOUT = "fetch_payout"
    FETCH_BALANCE = "fetch_balance"


@dataclass(frozen=True)
class ProviderRequest:
    """One request, fully determined before it is sent, so that it can be written down first.

    `params` is what the provider receives; `redacted` the same by allow-list, fit for storing.
    """

    step: Step
    method: str
    path: str
    params: Mapping[str, object]
    redacted: Mapping[str, object]
    params_sha256: str
    idempotency_key: str | None = None
    # What the reply must be about: a reply about anything else is no answer, and lists hold other payments too.
    expected_ref: str | None = None
    expected_metadata: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """Pure I/O: no database, no retries inside, every call bounded by its own timeout."""

    name: str
    account: str

    def prepare(
        self, step: Step, operation: Mapping[str, object], *, ref: str | None, key: str | None
    ) -> ProviderRequest:
        """The exact request for `step`, rebuilt only from the operation's stored parameters and `ref`."""
        ...

    def send(self, request: ProviderRequest) -> Reply:
        """Send it once and say how it ended. Never raises for anything the network or the provider does."""
        ...

    def parse_webhook(self, raw: bytes, headers: Mapping[str, str], *, now: datetime) -> WebhookEvent:
        """Verify signature and age on the raw body, then read it. Raises WebhookRefused."""
        ...


__all__ = ["Provider", "ProviderRequest", "Step", "WebhookEvent"]
