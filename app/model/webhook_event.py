"""One event of a provider, verified or listed: evidence that something changed, never an instruction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class WebhookEvent:
    """One verified provider event; the body is evidence only, what it is about is fetched again."""

    provider: str
    account: str
    event_id: str
    type: str
    object_id: str | None
    object_type: str | None
    payment_ref: str | None  # the provider's payment object this event belongs to, where the body tells
    payment_id: str | None  # ours, from metadata, where the body tells
    merchant_id: str | None
    api_version: str | None
    livemode: bool
    created_at: datetime
    payload: Mapping[str, object] = field(repr=False, default_factory=dict)  # redacted by allow-list
