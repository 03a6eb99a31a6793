"""A webhook's signature, age and shape: verified on the raw body before anything in it is believed.

The HMAC is ours because the SDK's check knows only the past (a signature dated next year passes), reads the wall clock
itself, takes one secret, and puts the whole body into its exceptions.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NoReturn

from app.errors import WebhookRefused
from app.providers.protocol import WebhookEvent
from app.providers.stripe.redaction import redact_reply, redact_text
from app.providers.stripe.snapshots import PROVIDER, our_ids

# Both ways: replays from the past, and clocks (or forgers) ahead of us. https://docs.stripe.com/webhooks#replay-attacks
TOLERANCE = 300.0
# Stripe signs once per active secret, at most two; a header stuffed with guesses is not worth hashing against.
MAX_HEADER = 4_096
MAX_SIGNATURES = 16
# The deepest event we have a use for is under ten.
MAX_DEPTH = 64

HEADER = "stripe-signature"

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9_]{1,255}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def parse_webhook(
    raw: bytes, headers: Mapping[str, str], *, secrets: Iterable[str], account: str, now: datetime
) -> WebhookEvent:
    """The verified event. Raises WebhookRefused with `reason` bad_signature, too_old, too_new or malformed."""
    signed_at = _verify(raw, headers, secrets)
    age = now.timestamp() - signed_at
    if age > TOLERANCE:
        _refuse("too_old", f"signed more than {TOLERANCE:g} s ago")
    if age < -TOLERANCE:
        _refuse("too_new", f"signed more than {TOLERANCE:g} s in the future")
    return read_event(_parse(raw), account)


def _verify(raw: bytes, headers: Mapping[str, str], secrets: Iterable[str]) -> int:
    """The signed unix time, once one signature matches one secret."""
    found = [value for name, value in headers.items() if name.lower() == HEADER]
    if not found or not found[0]:
        _refuse("bad_signature", "no Stripe-Signature header")
    if len(found) > 1 or len(found[0]) > MAX_HEADER:
        _refuse("malformed", "more than one, or too large a Stripe-Signature header")
    pairs = [part.partition("=") for part in found[0].split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    given = [value for name, _, value in pairs if name == "v1" and _SIGNATURE.fullmatch(value)][:MAX_SIGNATURES]
    if len(times) != 1 or not _TIMESTAMP.fullmatch(times[0]):
        _refuse("malformed", "the Stripe-Signature header has no time")
    expected = [
        hmac.digest(secret.encode(), times[0].encode() + b"." + raw, "sha256").hex() for secret in secrets if secret
    ]
    # No short cut: how long it takes does not tell which secret or signature came close.
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in given]
    if not any(matches):
        _refuse("bad_signature", "no signature matches")
    return int(times[0])


def _parse(raw: bytes) -> dict[str, object]:
    try:
        event = _DECODER.decode(raw.decode("utf-8"))
        # UTF-8 holds neither a NUL that JSON takes nor half a surrogate pair, unless by an escape
        if b"\\u" in raw or raw.count(b"{") + raw.count(b"[") >= MAX_DEPTH:
            _check_storable(event)
    except (ValueError, RecursionError):
        _refuse("malformed", "the body is not JSON that can be stored")
    if not isinstance(event, dict) or event.get("object") != "event":
        _refuse("malformed", "the body is no event")
    return event


def read_event(event: dict[str, object], account: str) -> WebhookEvent:
    """An event of a webhook's body or of a list. Raises WebhookRefused when it is none."""
    event_id, kind, livemode = event.get("id"), event.get("type"), event.get("livemode")
    data = event.get("data")
    body = data.get("object") if isinstance(data, dict) else None
    if not isinstance(event_id, str) or not _ID.fullmatch(event_id):
        _refuse("malformed", "the event has no usable id")
    if not isinstance(kind, str) or not kind or not isinstance(livemode, bool) or not isinstance(body, dict):
        _refuse("malformed", "the event has no type, livemode or object")
    version = event.get("api_version")
    object_type = body.get("object")
    ids = our_ids(body)
    return WebhookEvent(
        provider=PROVIDER,
        account=account,
        event_id=event_id,
        type=redact_text(kind),
        object_id=_id(body.get("id")),
        object_type=redact_text(object_type) if isinstance(object_type, str) else None,
        payment_ref=_id(body.get("id") if object_type == "payment_intent" else body.get("payment_intent")),
        payment_id=ids["payment_id"],
        merchant_id=ids["merchant_id"],
        api_version=redact_text(version) if isinstance(version, str) else None,
        livemode=livemode,
        created_at=_created(event.get("created")),
        payload=redact_reply(event) or {},
    )


def _id(value: object) -> str | None:
    """An id, whether it stands alone or the object was expanded in its place."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _created(value: object) -> datetime:
    try:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError("no second since 1970")
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        _refuse("malformed", "the event has no time")


def _check_storable(value: object) -> None:
    """Raises ValueError for what jsonb refuses (NUL, a lone surrogate) and for what is too deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        texts = [item for item in level if isinstance(item, str)]
        if any(_UNSTORABLE.search(text) for text in texts):
            raise ValueError("NUL or a lone surrogate")
        deeper: list[object] = []
        for item in level:
            if isinstance(item, dict):
                deeper.extend(item)
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
        if not deeper:
            return
        level = deeper
    raise ValueError("too deep")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is named twice, and two readers could read two events")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: json.loads would make one for each event.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)


def _refuse(reason: str, detail: str) -> NoReturn:
    raise WebhookRefused(f"Webhook refused: {detail}.", reason=reason)
