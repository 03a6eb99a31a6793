"""What providers told, and what became of it."""

from __future__ import annotations

from app.gateway.answers import Answer, moment, one_of, text
from app.gateway.ops.answers.fields import payment_id, uuid, yes_or_no


class ReceivedWebhook(Answer):
    object = one_of("webhook")
    id = uuid()
    merchant_id = uuid()
    provider = text("stripe")
    account = text("default")
    provider_event_id = text("evt_1")
    type = text("payment_intent.succeeded")
    object_id = text("pi_1", null=True)
    payment = payment_id(null=True)
    payment_ref = text("pi_1", null=True)
    livemode = yes_or_no(False)
    received_at = moment()
    status = text("done", null=True)


class WebhookSheet(ReceivedWebhook):
    """The same of one."""


class ReplayedWebhook(Answer):
    object = one_of("replayed_webhook")
    id = uuid()
