"""Takes in plain webhooks, those of one moment together, without the framework; what is not plain goes its whole way.

Plain is what needs no judging: nothing in its head could be read in two ways, its signature is right and its event new
or known. Only such are answered here, as `webhooks.stripe` answers them (tests/gateway/test_plain_webhooks.py compares
both, byte by byte); all else, whatever is refused too, is left to it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate

from flask import Flask

from app.errors import DatabaseDown, PostboxError, WebhookRefused
from app.gateway import metrics, raw, request_id, request_log, security_headers, trace
from app.gateway.context import Gateway
from app.gateway.door import Refusal
from app.gateway.errors import known
from app.gateway.framing import Incoming
from app.gateway.inbox import Event, Inbox
from app.gateway.together import OF_NOBODY
from app.gateway.webhooks import RECEIVED
from app.services.webhooks import is_new

# Ten times Stripe's usual event: a signature that turns out wrong is checked a second time.
MOST_BYTES = 64 * 1024
# Well below gunicorn's limits, which are the framework's way to refuse.
MOST_HEAD_BYTES, MOST_FIELDS = 4_000, 40

# One line for each field, one space after the colon, visible ASCII: gunicorn's parser has nothing to refuse in it.
_HEAD = re.compile(
    rb"POST (?P<path>/webhooks/(?P<provider>[a-z]+)/(?P<account>[A-Za-z0-9_]+)) HTTP/1\.1"
    rb"(?:\r\n[A-Za-z0-9-]+: [!-~]+(?: [!-~]+)*)+"
)
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,5}")
_HOST = re.compile(rb"[A-Za-z0-9.-]+(?::[0-9]+)?")
# They say how a request is framed, or that it is to be answered in another way than usual.
_UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te", b"http2-settings"})

_GOOD = {
    "Connection": "keep-alive",
    "Content-Type": "application/json",
    "Content-Length": str(len(RECEIVED)),
    "Content-Security-Policy": security_headers.DATA_POLICY,
    **security_headers.ALWAYS,
}


@dataclass(frozen=True)
class PlainWebhook:
    """One, and what its answer says of it; `at` is when it was here, by the monotonic clock."""

    at: float
    inbox: Inbox
    path: str
    headers: dict[str, str]
    body: bytes
    request_id: str
    trace: trace.Trace
    is_secure: bool


def plain(edge: Gateway, incoming: Incoming) -> PlainWebhook | None:
    """The webhook in a request that is whole, or None when it is none, or not plain."""
    if not incoming.line.startswith(b"POST /webhooks/") or len(incoming.head) > MOST_HEAD_BYTES:
        return None
    found, headers = _HEAD.fullmatch(incoming.head), incoming.headers
    if found is None or _UNUSUAL & headers.keys() or not len(headers) == incoming.head.count(b"\r\n") <= MOST_FIELDS:
        return None
    length, proto = headers.get(b"content-length", b""), headers.get(b"x-forwarded-proto")
    proxies = edge.settings.trusted_proxies
    inbox = edge.inboxes.get((found["provider"].decode(), found["account"].decode()))
    if (
        inbox is None
        or not _LENGTH.fullmatch(length)
        or int(length) > MOST_BYTES
        or not _HOST.fullmatch(headers.get(b"host", b""))
        or headers.get(b"connection", b"keep-alive").lower() != b"keep-alive"
        or (proxies and (proxies > 1 or proto not in (b"http", b"https")))
    ):
        return None
    return PlainWebhook(
        time.monotonic(),
        inbox,
        found["path"].decode(),
        {name.decode(): value.decode() for name, value in headers.items()},
        bytes(incoming.buffer[incoming.size - int(length) : incoming.size]),
        request_id.harmless(incoming.header(b"x-request-id")),
        trace.follow(incoming.header(b"traceparent")),
        bool(proxies) and proto == b"https",
    )


def answer(app: Flask, edge: Gateway, webhooks: Sequence[PlainWebhook]) -> list[bytes | None]:
    """Store what is believed, and the answer to each, once it is committed; None: the framework is to be asked."""
    edge.database.open()
    answers: dict[int, bytes | None] = {}
    for inbox in {webhook.inbox for webhook in webhooks}:
        own = ((index, webhook) for index, webhook in enumerate(webhooks) if webhook.inbox is inbox)
        events = {index: event for index, webhook in own if (event := _read(webhook))}
        found = _store(inbox, list(events.values())) if events else None
        if isinstance(found, int):
            edge.waker.wake()
        date = formatdate(usegmt=True)
        for index in events:
            if found is not None:
                answers[index] = _told(app, webhooks[index], found, date)
    return [answers.get(index) for index in range(len(webhooks))]


def come_back(app: Flask, webhook: PlainWebhook) -> bytes:
    """The answer to one that waited too long for those before it."""
    return _told(app, webhook, DatabaseDown(), "")


def _read(webhook: PlainWebhook) -> Event | None:
    ids = {"request_id": webhook.request_id, "trace_id": webhook.trace.id}
    try:
        return webhook.inbox.read(webhook.body, webhook.headers, **ids)
    except WebhookRefused:
        return None


def _store(inbox: Inbox, events: Sequence[Event]) -> PostboxError | int | None:
    """How many were stored, or why none could be; None when it was for one of them, maybe."""
    try:
        return sum(map(is_new, inbox.store(events)))
    except OF_NOBODY as error:
        # who is sent to ask the framework would wait for it once more
        return error
    except PostboxError:
        return None


def _told(app: Flask, webhook: PlainWebhook, found: PostboxError | int, date: str) -> bytes:
    """The answer, counted and told of as each request is."""
    route, seconds = raw.template(app, "POST", webhook.path), time.monotonic() - webhook.at
    secure = {"Strict-Transport-Security": security_headers.TRANSPORT} if webhook.is_secure else {}
    metrics.observe("POST", route, seconds)
    if isinstance(found, PostboxError):
        problem = known(found)
        request_log.tell("POST", route, problem.status, seconds, webhook.request_id, webhook.trace.id)
        refusal = Refusal(found, {**problem.headers, **secure})
        ids = {"given_id": webhook.request_id, "given_trace": webhook.trace.header}
        return raw.refusal(app, refusal, "POST", webhook.path, **ids, keep=True)
    metrics.count("POST", route, 200)
    request_log.tell("POST", route, 200, seconds, webhook.request_id, webhook.trace.id)
    own = {"Date": date, request_id.HEADER: webhook.request_id, trace.HEADER: webhook.trace.header}
    lines = [f"{name}: {value}" for name, value in {**_GOOD, **own, **secure}.items()]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode() + RECEIVED
