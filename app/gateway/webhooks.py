"""/webhooks/stripe/{account}: verify on the raw body, store once, answer; acting on it is a worker's."""

from __future__ import annotations

import structlog
from apiflask import APIBlueprint
from flask import Response, g, request

from app.errors import NotFound, WebhookRefused
from app.gateway import answers
from app.gateway.body import read_body
from app.gateway.context import actor, gateway
from app.gateway.contract import reads_raw, webhook
from app.gateway.representation import render
from app.gateway.schemas import StripeEvent

log = structlog.get_logger()

blueprint = APIBlueprint("webhooks", __name__, url_prefix="/webhooks")

RECEIVED = render({"received": True})
# Stripe's largest events are tens of kilobytes; anything beyond is not worth an HMAC.
MAX_BYTES = 256 * 1024


@blueprint.post("/stripe/<account>")
@blueprint.output(answers.Received)
@reads_raw(StripeEvent)
@webhook
def stripe(account: str) -> Response:
    """Take in one event of Stripe's.

    An account that there is not is answered like a signature that is wrong.
    """
    try:
        return _take_in(account)
    except NotFound:
        log.warning("webhook of an unknown account", request_id=g.request_id)
        raise WebhookRefused() from None


def _take_in(account: str) -> Response:
    raw = read_body(MAX_BYTES)
    edge = gateway()
    inbox = edge.inboxes.get(("stripe", account))
    if inbox is None:
        raise NotFound()
    try:
        event = inbox.read(raw, dict(iter(request.headers)), request_id=g.request_id, trace_id=g.trace.id)
    except WebhookRefused as refused:
        inbox.refuse(actor(inbox.who), str(refused.extra.get("reason", refused.code)))
        raise WebhookRefused() from None  # why is kept, and told to nobody: it would tell that there is the account
    inbox.receive(event)
    edge.waker.wake()
    return Response(RECEIVED, content_type="application/json")
