"""StripeProvider: prepares, sends and judges one request at a time; no database, no retries, no clock."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit

import stripe
from stripe._api_version import _ApiVersion

from app.model.outcome import Ambiguous, Evidence, Outcome, Reply
from app.providers.protocol import ProviderRequest, Step, WebhookEvent
from app.providers.stripe import webhooks
from app.providers.stripe.lists import stored_page
from app.providers.stripe.outcomes import body_of, describe, is_ours, outcome_of, was_replayed
from app.providers.stripe.redaction import redact_reply, redact_text
from app.providers.stripe.requests import build_request
from app.providers.stripe.snapshots import PROVIDER
from app.providers.stripe.transport import RawReply, Transport

# The tables of this package were read against this version; another SDK release has to be read again.
API_VERSION = "2026-10-28.endive"
# Pages of everybody's objects: which they were is evidence enough, each of them is stored as a row.
PAGES = frozenset({Step.LIST_EVENTS, Step.LIST_LINES, Step.LIST_PAYOUT_LINES})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class StripeProvider:
    """One Stripe account, safe to share between threads; see app.providers.protocol.Provider."""

    name = PROVIDER

    def __init__(
        self,
        api_key: str,
        *,
        account: str,
        api_base: str | None = None,
        webhook_secrets: Sequence[str] = (),
        connect_timeout: float = 3.0,
        read_timeout: float = 20.0,
    ) -> None:
        if _ApiVersion.CURRENT != API_VERSION:
            raise RuntimeError(f"the SDK speaks {_ApiVersion.CURRENT}, this adapter {API_VERSION}")
        # Both are global in the SDK. Telemetry writes an id to the home directory and sends our timings along; the
        # debug log prints whole replies, client secrets included.
        stripe.enable_telemetry = False
        logging.getLogger("stripe").setLevel(logging.WARNING)
        self.account = account
        self._webhook_secrets = tuple(webhook_secrets)
        base = (api_base or stripe.DEFAULT_API_BASE).rstrip("/")
        self._transport = Transport(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            use_proxies=urlsplit(base).hostname not in LOOPBACK,  # a proxy cannot reach our own sandbox
        )
        self._client = stripe.StripeClient(
            api_key,
            stripe_version=API_VERSION,
            base_addresses={"api": base},
            max_network_retries=0,
            http_client=self._transport,
        )

    def __repr__(self) -> str:
        return f"StripeProvider(account={self.account!r})"

    def prepare(
        self, step: Step, operation: Mapping[str, object], *, ref: str | None, key: str | None
    ) -> ProviderRequest:
        """The exact request for `step`. Raises app.errors.Invalid when the stored parameters do not suffice."""
        return build_request(step, operation, ref=ref, key=key)

    def send(self, request: ProviderRequest) -> Reply:
        """Send it once and say how it ended; never raises for what the network or Stripe does."""
        self._transport.forget()
        error: Exception | None = None
        started = time.monotonic()
        try:
            # The untyped call, because what is sent must be exactly what was written down.
            self._client.raw_request(
                request.method.lower(), request.path, idempotency_key=request.idempotency_key, **request.params
            )
        except Exception as raised:
            error = raised
        duration_ms = int((time.monotonic() - started) * 1000)
        reply = self._transport.last_reply()
        outcome: Outcome
        try:
            outcome = outcome_of(request, reply, error, account=self.account)
        except Exception as raised:
            # A reply we have no rule for is not worth less than a timeout: it may have moved money.
            error = raised
            outcome = Ambiguous(detail=f"unreadable reply: {type(raised).__name__}")
        return Reply(outcome, _evidence(request, reply, error, outcome, duration_ms))

    def close(self) -> None:
        """Close the connections of all threads."""
        self._transport.close()

    def parse_webhook(self, raw: bytes, headers: Mapping[str, str], *, now: datetime) -> WebhookEvent:
        """Verify on the raw body, then read. Raises WebhookRefused with a `reason`."""
        return webhooks.parse_webhook(raw, headers, secrets=self._webhook_secrets, account=self.account, now=now)


def _evidence(
    request: ProviderRequest, reply: RawReply | None, error: Exception | None, outcome: Outcome, duration_ms: int
) -> Evidence:
    detail = outcome.detail if isinstance(outcome, Ambiguous) else describe(error) if error is not None else None
    return Evidence(
        http_status=reply.status if reply else None,
        provider_request_id=_header(reply, "Request-Id"),
        replayed=was_replayed(reply) if reply else False,
        response=_stored_response(request, reply) if reply else None,
        response_sha256=hashlib.sha256(reply.body).hexdigest() if reply else None,
        error_class=_error_class(error) or ("UnreadableReply" if isinstance(outcome, Ambiguous) else None),
        error_detail=detail,
        duration_ms=duration_ms,
        api_version=_header(reply, "Stripe-Version"),
    )


def _stored_response(request: ProviderRequest, reply: RawReply) -> dict[str, object] | None:
    body = body_of(reply)
    if request.step in PAGES and (page := stored_page(body)) is not None:
        return page
    if request.step is Step.LIST_RECENT and isinstance(body, dict) and isinstance(body.get("data"), list):
        # A page holds every merchant's payments; this evidence belongs to one.
        body = body | {"data": [item for item in body["data"] if is_ours(request, item)]}
    return redact_reply(body)


def _error_class(error: Exception | None) -> str | None:
    """The network's own class where the SDK only wraps it: a connect timeout is told from a reset."""
    if isinstance(error, stripe.APIConnectionError) and error.__cause__ is not None:
        return type(error.__cause__).__name__
    return type(error).__name__ if error is not None else None


def _header(reply: RawReply | None, name: str) -> str | None:
    value = reply.headers.get(name) if reply else None
    return redact_text(value) if value else None
