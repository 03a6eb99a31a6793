"""A payment as operators see it, and all the evidence about it."""

from __future__ import annotations

from marshmallow import fields

from app.gateway.answers import Answer, currency, identity, minor_units, moment, one_of, text
from app.gateway.ops.answers.fields import HASH, UUID, payment_id, uuid, whole, yes_or_no
from app.model import public_id
from app.model.operation import REFUND_REASONS
from app.model.states import State


class FoundPayment(Answer):
    """`recognised` says as what an identifier was recognised; null where none was searched for."""

    object = one_of("payment")
    payment = payment_id()
    merchant_id = uuid()
    merchant = text("Corner shop")
    state = one_of(*(state.value for state in State))
    amount = minor_units(1_999)
    captured = minor_units(1_999)
    currency = text("usd")
    reference = text("order-1", null=True)
    provider_ref = text("pi_1", null=True)
    created_at = moment()
    recognised = text("reference", null=True)


class PaymentOperation(Answer):
    id = uuid()
    kind = text("submit")
    status = text("succeeded")
    step = text("confirm")
    attempt = whole(1)
    amount = minor_units(None, null=True)
    outcome = text("ok", null=True)
    outcome_code = text(None, null=True)
    created_at = moment()
    finished_at = moment(null=True)


class OpenDelivery(Answer):
    id = text(f"{UUID}:submit_payment")
    handler = text("submit_payment")
    topic = text("payment.initiated")
    status = text("pending")
    due_at = moment()
    runs = whole(1)
    failures = whole(0)
    deferrals = whole(0)
    deferred_for = text(None, null=True)
    dead_reason = text(None, null=True)
    resolution = text(None, null=True)


class PaymentSheet(Answer):
    object = one_of("payment_sheet")
    payment = payment_id()
    merchant_id = uuid()
    merchant = text("Corner shop")
    state = one_of(*(state.value for state in State))
    version = whole(7)
    amount = minor_units(1_999)
    captured = minor_units(1_999)
    refunded = minor_units(0)
    disputed = minor_units(0)
    lost = minor_units(0)
    provider_fees = minor_units(88, null=True, negative=True)
    currency = text("usd")
    method = text("card")
    reference = text("order-1", null=True)
    provider = text("stripe")
    provider_account = text("default")
    provider_ref = text("pi_1", null=True)
    created_at = moment()
    submitted_at = moment(null=True)
    confirmed_at = moment(null=True)
    settled_at = moment(null=True)
    failure_code = text(None, null=True)
    cancel_reason = text(None, null=True)
    livemode = yes_or_no(False)
    has_dead_letter = yes_or_no(False)
    operations = fields.List(fields.Nested(PaymentOperation))
    open_deliveries = fields.List(fields.Nested(OpenDelivery))


class Evidence(Answer):
    at = moment()
    source = text("history")
    evidence_id = text(UUID)
    what = text("payment.confirmed")
    from_state = text("submitted", null=True)
    to_state = text("confirmed", null=True)
    actor_type = text("worker", null=True)
    actor_id = text("submit_payment", null=True)
    on_behalf_of = text(None, null=True)
    reason = text(None, null=True)
    ref = text("pi_1", null=True)
    amount = minor_units(1_999, null=True, negative=True)
    currency = text("usd", null=True)
    correlation_id = text(UUID, null=True)
    causation_id = text(UUID, null=True)
    payload_sha256 = text(HASH, null=True)
    hash_ok = yes_or_no(True, null=True)


class RequestedRefund(Answer):
    """A refund that one person gave: a worker asks the provider after the commit."""

    object = one_of("requested_refund")
    id = identity(public_id.REFUND)
    payment = payment_id()
    merchant_id = uuid()
    amount = minor_units(600)
    currency = currency()
    cause = one_of(*REFUND_REASONS)
    created_at = moment()
