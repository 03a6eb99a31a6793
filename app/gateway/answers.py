"""The shape of answers, member by member with an example: what representation.py shows, as the document tells it."""

from __future__ import annotations

from typing import Any

from apiflask import Schema
from marshmallow import EXCLUDE, fields, validate

from app.gateway.problems import EXTENSIONS
from app.gateway.strict_json import LARGEST
from app.model import public_id
from app.model.operation import Kind
from app.model.states import DisputeState, RefundState, State

Responses = dict[int | str, dict[str, str | dict[str, dict[str, Any]]]]

_MOMENT = "2026-11-23T10:15:30.000000Z"


class Answer(Schema):
    """Every member is always there; what is not known is null. More may come, and a client must not mind."""

    class Meta:
        unknown = EXCLUDE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = True
        super().on_bind_field(field_name, field_obj)


def beside(status: int, schema: type[Schema]) -> Responses:
    """One more answer of an operation than `output` can tell."""
    return {status: {"content": {"application/json": {"schema": schema}}}}


PLAIN_TEXT: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def identity(prefix: str, *, null: bool = False) -> fields.String:
    """An id as public_id shows it."""
    told = {"pattern": f"^{prefix}[0-9a-f]{{32}}$", "examples": [prefix + "019abc3e5f7a7c41b2f09d8e6a1b2c3d"]}
    return fields.String(allow_none=null, metadata=told)


def one_of(*values: str, null: bool = False) -> fields.String:
    return fields.String(allow_none=null, validate=validate.OneOf(values), metadata={"examples": [values[0]]})


def text(example: str | None, *, null: bool = False) -> fields.String:
    return fields.String(allow_none=null, metadata={"examples": [example]})


def moment(*, null: bool = False) -> fields.String:
    """RFC 3339 in UTC, to the microsecond."""
    return fields.String(allow_none=null, metadata={"format": "date-time", "examples": [None if null else _MOMENT]})


def minor_units(example: int | None, *, null: bool = False, negative: bool = False) -> fields.Integer:
    """An amount in minor units of its currency."""
    told = {"minimum": -LARGEST if negative else 0, "maximum": LARGEST, "examples": [example]}
    return fields.Integer(allow_none=null, metadata=told)


def currency() -> fields.String:
    return fields.String(metadata={"pattern": "^[a-z]{3}$", "examples": ["usd"]})


def count(example: int) -> fields.Integer:
    return fields.Integer(metadata={"minimum": 1, "examples": [example]})


class PaymentMethod(Answer):
    type = one_of("card", "us_bank_account", "ach")
    # once the provider has told it
    last4 = text("4242", null=True)


class NextAction(Answer):
    type = text("redirect_to_url")
    redirect_url = text("https://provider.example/3ds", null=True)


class Failure(Answer):
    code = text("card_declined")
    message = text("The card was declined.", null=True)
    retryable = fields.Boolean(metadata={"examples": [True]})


# Members of a payment that are there when they are asked for.
EXPANDED = ("history", "refunds", "disputes")


class Payment(Answer):
    id = identity(public_id.PAYMENT)
    object = one_of("payment")
    state = one_of(*(state.value for state in State))
    amount = minor_units(1_999)
    currency = currency()
    amount_authorized = minor_units(None, null=True)
    amount_captured = minor_units(0)
    amount_refund_pending = minor_units(0)
    amount_refunded = minor_units(0)
    amount_disputed = minor_units(0)
    amount_lost = minor_units(0)
    # ours, once it is confirmed
    fee = minor_units(None, null=True)
    method = fields.Nested(PaymentMethod)
    capture_method = one_of("automatic", "manual")
    reference = text("order-1", null=True)
    description = text(None, null=True)
    next_action = fields.Nested(NextAction, allow_none=True, metadata={"examples": [None]})
    failure = fields.Nested(Failure, allow_none=True, metadata={"examples": [None]})
    cancel_reason = text(None, null=True)
    created_at = moment()
    submitted_at = moment(null=True)
    confirmed_at = moment(null=True)
    settled_at = moment(null=True)
    capture_before = moment(null=True)
    livemode = fields.Boolean(metadata={"examples": [False]})
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), metadata={"examples": [{"cart": "9"}]})
    version = count(1)
    # each with its name in `expand` only
    history = fields.List(fields.Nested(lambda: TimelineEntry()))
    refunds = fields.Nested(lambda: Refunds())
    disputes = fields.Nested(lambda: Disputes())

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        super().on_bind_field(field_name, field_obj)
        field_obj.required = field_name not in EXPANDED


class Refund(Answer):
    id = identity(public_id.REFUND)
    object = one_of("refund")
    state = one_of(*(state.value for state in RefundState))
    payment = identity(public_id.PAYMENT)
    amount = minor_units(600)
    currency = currency()
    reason = text("requested", null=True)
    origin = one_of("api", "provider")
    failure_reason = text(None, null=True)
    created_at = moment()
    succeeded_at = moment(null=True)
    ended_at = moment(null=True)
    version = count(1)


class Dispute(Answer):
    id = identity(public_id.DISPUTE)
    object = one_of("dispute")
    state = one_of(DisputeState.OPEN, *(state.value for state in DisputeState if state is not DisputeState.OPEN))
    payment = identity(public_id.PAYMENT)
    amount = minor_units(1_999)
    amount_withdrawn = minor_units(1_999)
    currency = currency()
    reason = text("fraudulent", null=True)
    provider_status = text("needs_response")
    disputed_at = moment()
    evidence_due_at = moment(null=True)
    created_at = moment()
    version = count(1)


class Operation(Answer):
    id = identity(public_id.OPERATION)
    object = one_of("operation")
    kind = one_of(Kind.CAPTURE, Kind.CANCEL, Kind.SUBMIT, Kind.CLOSE, Kind.REFUND)
    status = text("pending")
    payment = identity(public_id.PAYMENT)
    amount = minor_units(1_999, null=True)
    reason = text(None, null=True)
    created_at = moment()


class Event(Answer):
    id = identity(public_id.EVENT)
    object = one_of("event")
    topic = text("payment.initiated")
    payment = identity(public_id.PAYMENT)
    refund = identity(public_id.REFUND, null=True)
    dispute = identity(public_id.DISPUTE, null=True)
    version = fields.Integer(allow_none=True, metadata={"minimum": 1, "examples": [1]})
    occurred_at = moment()
    data = fields.Dict(metadata={"examples": [{"state": "initiated"}]})


class TimelineEntry(Answer):
    at = moment()
    kind = text("event")
    what = text("payment.initiated")
    detail = fields.Dict(allow_none=True, metadata={"examples": [{"version": 1}]})


class Held(Answer):
    currency = currency()
    amount = minor_units(1_969, negative=True)


class Balance(Answer):
    object = one_of("balance")
    pending = fields.List(fields.Nested(Held))
    available = fields.List(fields.Nested(Held))


class BalanceEntry(Answer):
    id = fields.String(
        metadata={"pattern": r"^le_[0-9a-f]{32}_[0-9]+$", "examples": ["le_019abc3e5f7a7c41b2f09d8e6a1b2c3d_1"]}
    )
    object = one_of("balance_entry")
    balance = one_of("pending", "available", "reserve")
    amount = minor_units(1_969, negative=True)
    currency = currency()
    kind = text("payment_credited")
    payment = identity(public_id.PAYMENT, null=True)
    created_at = moment()


class Listing(Answer):
    object = one_of("list")
    next_cursor = text(None, null=True)


class Feed(Listing):
    """A list that grows at its end; its cursor is worth keeping when there is no more for now."""

    has_more = fields.Boolean(metadata={"examples": [False]})


class Payments(Listing):
    data = fields.List(fields.Nested(Payment))


class Refunds(Listing):
    data = fields.List(fields.Nested(Refund))


class Disputes(Listing):
    data = fields.List(fields.Nested(Dispute))


class Timeline(Listing):
    data = fields.List(fields.Nested(TimelineEntry))


class Events(Feed):
    data = fields.List(fields.Nested(Event))


class BalanceEntries(Feed):
    data = fields.List(fields.Nested(BalanceEntry))


class Received(Answer):
    received = fields.Boolean(metadata={"examples": [True]})


class Alive(Answer):
    status = one_of("ok")


class Ready(Answer):
    status = one_of("ready")


class Unready(Schema):
    class Meta:
        unknown = EXCLUDE

    status = fields.String(required=True, validate=validate.OneOf(["unready"]), metadata={"examples": ["unready"]})
    reason = fields.String(
        required=True,
        validate=validate.OneOf(["database_down", "database_not_migrated", "database_unsafe", "migrations_pending"]),
        metadata={"examples": ["migrations_pending"]},
    )
    pending = fields.List(fields.String(), metadata={"examples": [["migrations/0009_rate_limits.sql"]]})
    settings = fields.List(fields.String(), metadata={"examples": [["fsync"]]})


class ProblemType(Answer):
    """One row of docs/api-errors.md."""

    type = text("urn:postbox:problem:rate-limited")
    title = text("Too many requests")
    status = fields.Integer(metadata={"minimum": 400, "maximum": 599, "examples": [429]})
    code = text("rate_limited")
    meaning = text("the bucket of the key or of the merchant is empty")
    remedy = text("the same request again after `Retry-After`")


class Refused(Answer):
    """One member of a request that was refused."""

    pointer = text("/amount")
    code = text("required")
    detail = text("Missing data for required field.")


class Problem(Answer):
    """RFC 9457; `code` says which of docs/api-errors.md it is."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        super().on_bind_field(field_name, field_obj)
        field_obj.required = field_name not in EXTENSIONS

    type = text("urn:postbox:problem:invalid")
    title = text("Invalid request")
    status = fields.Integer(metadata={"minimum": 400, "maximum": 599, "examples": [422]})
    detail = text("The request is well-formed but its content is refused.")
    instance = text("/v1/payments")
    code = text("invalid")
    errors = fields.List(fields.Nested(Refused))
    request_id = text("5f0c2b9e4d1a4f3c8b7a6d5e4f3c2b1a")
    state = fields.String(metadata={"description": "With `state_conflict`: the payment's.", "examples": ["canceled"]})
