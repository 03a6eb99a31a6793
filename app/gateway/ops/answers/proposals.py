"""What takes two people."""

from __future__ import annotations

from marshmallow import fields

from app.gateway.answers import Answer, moment, one_of, text
from app.gateway.ops.answers.fields import UUID, payment_id, uuid


class Proposed(Answer):
    """What one person wants done, and what another decided. `parameters` is exactly what would be done."""

    object = one_of("proposal")
    id = uuid()
    merchant_id = uuid()
    act = one_of("adopt", "discard", "refund", "write_off")
    status = one_of("open", "approved", "rejected", "expired")
    payment = payment_id(null=True)
    parameters = fields.Dict(keys=fields.String(), metadata={"examples": [{"letter": f"{UUID}:submit_payment"}]})
    proposed_by = text("ann")
    reason = text("paid by bank transfer instead")
    decided_by = text(None, null=True)
    decision_reason = text(None, null=True)
    proposed_at = moment()
    expires_at = moment()
    decided_at = moment(null=True)


class Proposal(Proposed):
    """The same of one."""
