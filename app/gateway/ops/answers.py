"""The shape of what operators are shown, member by member with an example; showing.py picks these from the rows."""

from __future__ import annotations

from apiflask import Schema
from marshmallow import fields

from app.gateway.answers import Answer, currency, identity, minor_units, moment, one_of, text
from app.model import public_id
from app.model.operation import REFUND_REASONS
from app.model.operator_role import OperatorRole, Right
from app.model.scope import ALL_SCOPES
from app.model.states import State

_UUID = "019abc3e-5f7a-7c41-b2f0-9d8e6a1b2c3d"
_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def uuid(*, null: bool = False) -> fields.String:
    return fields.String(allow_none=null, metadata={"format": "uuid", "examples": [_UUID]})


def number(example: float | None, *, null: bool = False) -> fields.Float:
    return fields.Float(allow_none=null, metadata={"examples": [example]})


def whole(example: int | None, *, null: bool = False) -> fields.Integer:
    return fields.Integer(allow_none=null, metadata={"examples": [example]})


def yes_or_no(example: bool, *, null: bool = False) -> fields.Boolean:
    return fields.Boolean(allow_none=null, metadata={"examples": [example]})


def payment_id(*, null: bool = False) -> fields.String:
    return identity(public_id.PAYMENT, null=null)


def list_of(schema: type[Schema]) -> type[Schema]:
    """A page of these, newest first unless the operation says otherwise."""
    members = {
        "object": one_of("list"),
        "data": fields.List(fields.Nested(schema)),
        "next_cursor": text("WyJv...", null=True),
    }
    return type(f"{schema.__name__}List", (Answer,), members)


class Session(Answer):
    object = one_of("session")
    operator = text("ann")
    role = one_of(*OperatorRole)
    rights = fields.List(one_of(*Right))
    csrf_token = text("0" * 64)


class SessionEnded(Answer):
    object = one_of("session")
    ended = yes_or_no(True)


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
    id = text(f"{_UUID}:submit_payment")
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
    evidence_id = text(_UUID)
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
    correlation_id = text(_UUID, null=True)
    causation_id = text(_UUID, null=True)
    payload_sha256 = text(_HASH, null=True)
    hash_ok = yes_or_no(True, null=True)


class DeadLetter(Answer):
    object = one_of("dead_letter")
    letter = text("3fa85f64")
    id = text(f"{_UUID}:submit_payment")
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


class Merchant(Answer):
    object = one_of("merchant")
    merchant_id = uuid()
    name = text("Corner shop")
    active = yes_or_no(True)
    created_at = moment()
    usable_keys = whole(1)


class Key(Answer):
    object = one_of("key")
    id = text("0123456789abcdef")
    merchant_id = uuid()
    label = text("till")
    livemode = yes_or_no(False)
    scopes = fields.List(one_of(*ALL_SCOPES))
    allowed_from = fields.List(text("203.0.113.0/24"), allow_none=True, metadata={"examples": [["203.0.113.0/24"]]})
    created_at = moment()
    expires_at = moment(null=True)
    revoked_at = moment(null=True)
    replaces = text(None, null=True)
    last_used_at = moment(null=True)
    last_address = text("203.0.113.9", null=True)


class Discrepancy(Answer):
    object = one_of("discrepancy")
    id = uuid()
    merchant_id = uuid()
    type = text("clearing_open")
    severity = one_of("critical", "high", "medium", "low")
    status = one_of("open", "acknowledged", "auto_resolved", "resolved", "written_off")
    subject = text(f"payment/{_UUID}")
    payment = payment_id(null=True)
    currency = text("usd", null=True)
    expected = minor_units(0, null=True, negative=True)
    actual = minor_units(-1_999, null=True, negative=True)
    delta = minor_units(-1_999, null=True, negative=True)
    first_seen_at = moment()
    last_seen_at = moment()
    sla_due_at = moment()
    acknowledged_by = text(None, null=True)
    closed_at = moment(null=True)
    resolved_by = text(None, null=True)
    approved_by = text(None, null=True)
    resolution_note = text(None, null=True)


class Deed(Answer):
    recorded_at = moment()
    action = text("discrepancy.acknowledged")
    actor_type = text("operator")
    actor_id = text("ann")
    on_behalf_of = text(None, null=True)
    reason = text("the provider corrects it tomorrow", null=True)


class DiscrepancySheet(Discrepancy):
    object = one_of("discrepancy_sheet")
    acknowledge_due_at = moment(null=True)
    unacknowledged_at = moment(null=True)
    write_off_asked_by = text(None, null=True)
    write_off_asked_at = moment(null=True)
    history = fields.List(fields.Nested(Deed))


class Circuit(Answer):
    provider = text("stripe")
    account = text("default")
    state = one_of("closed", "open")
    failures = whole(0)
    opened_at = moment(null=True)
    probe_at = moment(null=True)
    reason = text(None, null=True)


class Pause(Answer):
    kind = one_of("provider", "handler", "merchant")
    name = text("stripe")
    reason = text("maintenance")
    paused_by = text("ann")
    paused_at = moment()


class Providers(Answer):
    """Accounts that have failed us and whether calls are held back, and what people have paused."""

    object = one_of("providers")
    circuits = fields.List(fields.Nested(Circuit))
    pauses = fields.List(fields.Nested(Pause))


class HandlerFigures(Answer):
    handler = text("submit_payment")
    lane = one_of("local", "remote")
    runnable = whole(0)
    oldest_runnable_s = number(None, null=True)
    waiting = whole(0)
    oldest_waiting_s = number(None, null=True)
    next_due_in_s = number(None, null=True)
    dead = whole(0)


class StateFigures(Answer):
    state = one_of(*(state.value for state in State))
    payments = whole(3)
    oldest_s = number(12.5, null=True)


class DiscrepancyFigures(Answer):
    severity = one_of("critical", "high", "medium", "low")
    open = whole(1)
    overdue = whole(0)
    unacknowledged = whole(0)
    oldest_s = number(12.5)


class SweepFigures(Answer):
    name = text("promote")
    last_run_at = moment()
    ago_s = number(0.4)
    last_found = whole(0)
    runs = whole(1_000)
    found = whole(12)


class Lately(Answer):
    last_webhook_at = moment(null=True)
    last_refusal_at = moment(null=True)
    last_available_at = moment(null=True)
    last_settled_at = moment(null=True)


class Status(Answer):
    """What `postbox status` shows; `attention` is empty when no person is needed."""

    object = one_of("status")
    attention = fields.List(text("dead letters of submit_payment: 1"))
    handlers = fields.List(fields.Nested(HandlerFigures))
    payments = fields.List(fields.Nested(StateFigures))
    circuits = fields.List(fields.Nested(Circuit))
    pauses = fields.List(fields.Nested(Pause))
    discrepancies = fields.List(fields.Nested(DiscrepancyFigures))
    sweeps = fields.List(fields.Nested(SweepFigures))
    lately = fields.Nested(Lately)


class Person(Answer):
    object = one_of("operator")
    name = text("ann")
    role = one_of(*OperatorRole)
    created_at = moment()
    seen_at = moment(null=True)
    disabled_at = moment(null=True)


class Access(Answer):
    """`merchant_id` is whose rows were shown; the platform's where they were nobody's."""

    object = one_of("access")
    id = uuid()
    seen_at = moment()
    operator = text("ann")
    role = one_of(*OperatorRole)
    address = text("203.0.113.9", null=True)
    route = text("/ops/v1/payments")
    entity = text("query=order-1", null=True)
    merchant_id = uuid()
    result = text("ok")
    row_count = whole(1)
    request_id = text("0197f2a8", null=True)


class Proposed(Answer):
    """What one person wants done, and what another decided. `parameters` is exactly what would be done."""

    object = one_of("proposal")
    id = uuid()
    merchant_id = uuid()
    act = one_of("adopt", "discard", "refund", "write_off")
    status = one_of("open", "approved", "rejected", "expired")
    payment = payment_id(null=True)
    parameters = fields.Dict(keys=fields.String(), metadata={"examples": [{"letter": f"{_UUID}:submit_payment"}]})
    proposed_by = text("ann")
    reason = text("paid by bank transfer instead")
    decided_by = text(None, null=True)
    decision_reason = text(None, null=True)
    proposed_at = moment()
    expires_at = moment()
    decided_at = moment(null=True)


class Proposal(Proposed):
    """The same of one."""


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


class HandledLetter(Answer):
    object = one_of("handled_letter")
    letter = text("3fa85f64")
    id = text(f"{_UUID}:submit_payment")
    done = one_of("replayed", "discarded")


class ReplayedWebhook(Answer):
    object = one_of("replayed_webhook")
    id = uuid()


class CreatedMerchant(Answer):
    object = one_of("merchant_created")
    merchant_id = uuid()
    name = text("Corner shop")
    active = yes_or_no(True)
    created_at = moment()


class CreatedKey(Answer):
    """`key` is shown this once; a replay of the request says null."""

    object = one_of("key_created")
    id = text("0123456789abcdef")
    key = text("pb_test_0123456789abcdef_...", null=True)
    merchant_id = uuid()
    label = text("till")
    livemode = yes_or_no(False)
    scopes = fields.List(one_of(*ALL_SCOPES))
    allowed_from = fields.List(text("203.0.113.0/24"), allow_none=True, metadata={"examples": [["203.0.113.0/24"]]})
    expires_at = moment(null=True)
    replaces = text(None, null=True)
    created_at = moment()


class RevokedKey(Answer):
    object = one_of("key_revoked")
    id = text("0123456789abcdef")
    merchant_id = uuid()
    revoked_at = moment()


class SetPause(Pause):
    object = one_of("pause")


class LiftedPause(Pause):
    """`released` deliveries had waited behind it."""

    object = one_of("pause_lifted")
    released = whole(0)


class WriteOff(Answer):
    """Asked for by one person; once another approved it, `status` says so and the entry is in the books."""

    object = one_of("write_off")
    id = uuid()
    merchant_id = uuid()
    status = one_of("open", "acknowledged", "written_off")
    write_off_asked_by = text("ann")
    write_off_asked_at = moment()
    approved_by = text(None, null=True)
    resolution_note = text("too small to be worth a day", null=True)


class HandledDiscrepancy(Answer):
    object = one_of("handled_discrepancy")
    id = uuid()
    merchant_id = uuid()
    status = one_of("acknowledged", "resolved")
    acknowledged_by = text("ann", null=True)
    resolved_by = text(None, null=True)
    resolution_code = text(None, null=True)
    resolution_note = text("the provider corrects it tomorrow", null=True)
