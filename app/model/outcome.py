"""How one provider call ended, in the five ways that decide what happens next."""

from __future__ import annotations

from dataclasses import dataclass

from app.model.provider_book import Balance, Line, Payout
from app.model.snapshot import DisputeSnapshot, Fact, RefundSnapshot, Snapshot
from app.model.webhook_event import WebhookEvent


@dataclass(frozen=True)
class Ok:
    """Done; this is how the object looks now. `facts` is filled when money lines were asked for."""

    snapshot: Snapshot | None
    facts: tuple[Fact, ...] = ()
    found: tuple[Snapshot, ...] = ()  # when a list was asked for
    refunds: tuple[RefundSnapshot, ...] = ()  # one that was made, or a payment's
    disputes: tuple[DisputeSnapshot, ...] = ()
    # when the account as a whole was asked about
    events: tuple[WebhookEvent, ...] = ()
    lines: tuple[Line, ...] = ()
    payout: Payout | None = None
    balances: tuple[Balance, ...] = ()
    next_page: str | None = None  # the list goes on: ask again with this as `starting_after`


@dataclass(frozen=True)
class Refused:
    """A business refusal, a result and not a failure; `moved` says the object had changed and must be fetched."""

    code: str
    message: str
    retryable: bool = False
    moved: bool = False
    snapshot: Snapshot | None = None


@dataclass(frozen=True)
class NotExecuted:
    """Nothing happened at the provider: the same key may go again after `retry_after` seconds. Never counted."""

    reason: str  # rate_limited | key_in_use | unauthenticated | forbidden | lock_timeout
    retry_after: float | None = None
    opens_circuit: bool = False


@dataclass(frozen=True)
class Ambiguous:
    """Sent, and no definite answer: timeout, reset, 5xx, unknown error. Only asking resolves it."""

    detail: str
    saved: bool = False  # a replayed 5xx: the provider stored this answer, the attempt is over


@dataclass(frozen=True)
class Misuse:
    """Our own mistake, such as one key with two bodies: a dead letter at once, never a fresh key."""

    detail: str


Outcome = Ok | Refused | NotExecuted | Ambiguous | Misuse


@dataclass(frozen=True)
class Evidence:
    """What was seen on the wire, redacted by allow-list; `body_sha256` is of the original bytes."""

    http_status: int | None
    provider_request_id: str | None
    replayed: bool
    response: dict[str, object] | None
    response_sha256: str | None
    error_class: str | None
    error_detail: str | None
    duration_ms: int
    api_version: str | None = None  # the one the provider says it answered in


@dataclass(frozen=True)
class Reply:
    outcome: Outcome
    evidence: Evidence
