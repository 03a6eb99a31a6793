"""The shape of what operators are shown, member by member with an example; showing.py picks these from the rows."""

from app.gateway.ops.answers.dead_letters import DeadLetter, DeadLetterSheet, HandledLetter, Prospect, RaisedFailure
from app.gateway.ops.answers.discrepancies import Deed, Discrepancy, DiscrepancySheet, HandledDiscrepancy, WriteOff
from app.gateway.ops.answers.fields import list_of
from app.gateway.ops.answers.figures import (
    Circuit,
    DiscrepancyFigures,
    HandlerFigures,
    Lately,
    LiftedPause,
    Pause,
    Providers,
    SetPause,
    StateFigures,
    Status,
    SweepFigures,
)
from app.gateway.ops.answers.payments import (
    Evidence,
    FoundPayment,
    OpenDelivery,
    PaymentOperation,
    PaymentSheet,
    RequestedRefund,
)
from app.gateway.ops.answers.people import Access, Person
from app.gateway.ops.answers.proposals import Proposal, Proposed
from app.gateway.ops.answers.session import Session, SessionEnded
from app.gateway.ops.answers.tenants import CreatedKey, CreatedMerchant, Key, Merchant, RevokedKey
from app.gateway.ops.answers.webhooks import ReceivedWebhook, ReplayedWebhook, WebhookSheet

__all__ = [
    "Access",
    "Circuit",
    "CreatedKey",
    "CreatedMerchant",
    "DeadLetter",
    "DeadLetterSheet",
    "Deed",
    "Discrepancy",
    "DiscrepancyFigures",
    "DiscrepancySheet",
    "Evidence",
    "FoundPayment",
    "HandledDiscrepancy",
    "HandledLetter",
    "HandlerFigures",
    "Key",
    "Lately",
    "LiftedPause",
    "Merchant",
    "OpenDelivery",
    "Pause",
    "PaymentOperation",
    "PaymentSheet",
    "Person",
    "Proposal",
    "Proposed",
    "Prospect",
    "Providers",
    "RaisedFailure",
    "ReceivedWebhook",
    "ReplayedWebhook",
    "RequestedRefund",
    "RevokedKey",
    "Session",
    "SessionEnded",
    "SetPause",
    "StateFigures",
    "Status",
    "SweepFigures",
    "WebhookSheet",
    "WriteOff",
    "list_of",
]
