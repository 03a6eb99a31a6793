"""Dead letters, and what a replay would do."""

from __future__ import annotations

from marshmallow import fields

from app.gateway.answers import Answer, minor_units, moment, one_of, text
from app.gateway.ops.answers.fields import UUID, number, payment_id, uuid, whole, yes_or_no


class DeadLetter(Answer):
    object = one_of("dead_letter")
    letter = text("3fa85f64")
    id = text(f"{UUID}:submit_payment")
    merchant_id = uuid()
    handler = text("submit_payment")
    topic = text("payment.initiated")
    payment = payment_id(null=True)
    payment_state = text("initiated", null=True)
    amount = minor_units(1_999, null=True)
    currency = text("usd", null=True)
    dead_at = moment()
    dead_reason = text("failures")
    failures = whole(3)
    rescues = whole(0)
    deferrals = whole(0)
    error_class = text("builtins.ValueError", null=True)
    message = text("no such thing", null=True)
    resolution = text(None, null=True)
    resolved_by = text(None, null=True)
    resolved_at = moment(null=True)
    resolved_reason = text(None, null=True)


class RaisedFailure(Answer):
    failed_at = moment()
    error_class = text("builtins.ValueError")
    message = text("no such thing")
    traceback = text("Traceback (most recent call last): ...")


class Prospect(Answer):
    """What a replay would meet and do; nothing was changed to find out."""

    payment_state = text("initiated", null=True)
    operation_status = text(None, null=True)
    step = text(None, null=True)
    idempotency_key = text(None, null=True)
    key_age = number(None, null=True)
    provider_call = one_of("none", "ask", "send")
    asks_first = yes_or_no(False)
    effect = text("submits the payment: nothing was sent before")


class DeadLetterSheet(DeadLetter):
    object = one_of("dead_letter_sheet")
    history = fields.List(fields.Nested(RaisedFailure))
    replay = fields.Nested(Prospect)


class HandledLetter(Answer):
    object = one_of("handled_letter")
    letter = text("3fa85f64")
    id = text(f"{UUID}:submit_payment")
    done = one_of("replayed", "discarded")
