"""The shape of what operators send."""

from __future__ import annotations

from marshmallow import fields, validate

from app.gateway.schemas import Matches, MinorUnits, Page, Strict, Text, one_of
from app.model.operation import REFUND_REASONS
from app.model.password import LONGEST
from app.model.scope import ALL_SCOPES
from app.model.states import State
from app.services.api_keys import MAX_NETWORKS, MAX_OVERLAP_SECONDS
from app.services.merchants import NAME_LENGTH
from app.services.pauses import KINDS

# Bound of proposals_texts_are_bounded; a longer story belongs into a ticket.
REASON = 500

EXAMPLE_ID = "019abc3e-5f7a-7c41-b2f0-9d8e6a1b2c3d"


class SignIn(Strict):
    # What is no name of ours is answered like a name that is nobody's: a shape would tell which names there can be.
    name = Text(64, example="ann", like=Matches("[!-~]+", "Must be a name."), required=True)
    password = Text(LONGEST, example="correct horse battery staple", required=True)
    code = fields.String(
        required=True,
        validate=validate.Regexp(r"[0-9]{6}\Z", error="Must be six digits."),
        metadata={"pattern": "^[0-9]{6}$", "examples": ["123456"]},
    )


def _merchant() -> fields.UUID:
    return fields.UUID(metadata={"examples": [EXAMPLE_ID]})


class ListPayments(Page):
    query = Text(255, example="order-1")
    merchant = _merchant()
    state = one_of(*(state.value for state in State))


class ListDeadLetters(Page):
    handler = Text(100, example="submit_payment")
    merchant = _merchant()
    reason_class = Text(200, example="crash")
    handled = fields.Boolean(load_default=False)


class ListWebhooks(Page):
    type = Text(100, example="payment_intent.succeeded")
    provider_event_id = Text(255, example="evt_1")


class ListKeys(Page):
    merchant = _merchant()


class ListDiscrepancies(Page):
    merchant = _merchant()
    status = one_of("open", "acknowledged", "auto_resolved", "resolved", "written_off")


class ListAccesses(Page):
    operator = Text(64, example="ann")
    merchant = _merchant()


class ListProposals(Page):
    open = fields.Boolean(load_default=False)


class Reasoned(Strict):
    """Why; the audit keeps it."""

    reason = Text(REASON, example="the merchant asked for it", required=True)


class Adopt(Reasoned):
    amount = MinorUnits(required=True)


class RefundPayment(Reasoned):
    amount = MinorUnits(required=True)
    cause = one_of(*REFUND_REASONS, load_default="requested")


class CreateMerchant(Reasoned):
    name = Text(NAME_LENGTH, example="Corner shop", required=True)


class CreateKey(Reasoned):
    merchant = fields.UUID(required=True, metadata={"examples": [EXAMPLE_ID]})
    label = Text(100, example="till", load_default="default")
    livemode = fields.Boolean(load_default=False, metadata={"examples": [False]})
    scopes = fields.List(
        one_of(*ALL_SCOPES),
        load_default=ALL_SCOPES,
        validate=validate.Length(min=1, max=len(ALL_SCOPES)),
        metadata={"examples": [["payments:read"]]},
    )
    allowed_from = fields.List(
        Text(50, example="203.0.113.0/24"),
        load_default=(),
        validate=validate.Length(max=MAX_NETWORKS),
        metadata={"examples": [["203.0.113.0/24"]]},
    )
    expires_at = fields.AwareDateTime(format="iso", metadata={"examples": ["2100-01-01T00:00:00Z"]})


class RotateKey(Reasoned):
    overlap_seconds = fields.Integer(
        load_default=86_400,
        strict=True,
        validate=validate.Range(0, MAX_OVERLAP_SECONDS),
        metadata={"examples": [86_400]},
    )


class SetPause(Reasoned):
    kind = one_of(*KINDS, required=True)
    name = Text(100, example="stripe", required=True)


class Resolve(Reasoned):
    code = Text(100, example="provider_corrected", required=True)
