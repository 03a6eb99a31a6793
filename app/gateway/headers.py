"""The headers of requests and answers as the document describes them; what sends them is elsewhere."""

from __future__ import annotations

from typing import Any


def _text(description: str, example: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}, "example": example}


_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

# Sent by callers. What is optional is replaced or ignored when it is not as it should be, so it has no pattern.
SENT: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "required": True,
        **_text(
            "One per intended effect (draft-ietf-httpapi-idempotency-key-header-07): for seven days the same key and "
            "body get the same answer.",
            "0197f2a8-order-1",
            pattern="^[!-~]{1,255}$",
        ),
    },
    "Origin": {
        "required": True,
        **_text("The origin of the page, as every browser sends it; it must be this one.", "https://postbox.example"),
    },
    "X-CSRF-Token": {
        "required": True,
        **_text("The `csrf_token` of the session.", "0" * 64, pattern="^[0-9a-f]{64}$"),
    },
    "If-Match": _text(
        "The `ETag` of the payment as you know it; another version is refused with 412. `*` is any.",
        "*",
    ),
    "X-Request-Id": _text(
        "Your name for this request, 1 to 64 of A-Z a-z 0-9 . _ -; anything else is replaced.", "order-1-try-1"
    ),
    "traceparent": _text(
        "The trace that this request belongs to (W3C Trace Context); what is malformed is ignored.",
        _TRACEPARENT,
    ),
}
# Of every request.
ALWAYS_SENT = ("X-Request-Id", "traceparent")

ANSWERED: dict[str, dict[str, Any]] = {
    "X-Request-Id": _text("The request's id, yours or ours; logs and the audit carry it.", "order-1-try-1"),
    "traceparent": _text(
        "The trace, yours or ours, and what this request is in it; logs, the audit and the events carry the trace.",
        _TRACEPARENT,
        pattern="^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$",
    ),
    "RateLimit": _text(
        "What is left in each bucket (`r`), and the seconds until it is full (`t`).", '"key-read";r=399;t=1'
    ),
    "RateLimit-Policy": _text(
        "The burst of each bucket (`q`), and the seconds in which it refills (`w`).", '"key-read";q=400;w=2'
    ),
    "ETag": _text("The payment's `version`, quoted; for `If-Match`.", '"3"', pattern='^"[0-9]+"$'),
    "Idempotency-Replayed": _text("`true` on an answer that was given before.", "true", enum=["true"]),
    "Set-Cookie": _text("The session's cookie, set or taken away.", "__Host-postbox_session=...; Secure; HttpOnly"),
    "Retry-After": {
        "description": "Seconds after which the same request may be sent again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "example": "1",
    },
    "WWW-Authenticate": _text("How to authenticate.", 'Bearer realm="postbox"'),
    "Allow": _text("The methods that this resource has.", "GET, HEAD, OPTIONS"),
}
# Of every answer.
ALWAYS_ANSWERED = ("X-Request-Id", "traceparent")

# What a status brings with it beside what the table of problems in errors.py says.
BY_STATUS = {429: ("Retry-After",)}
