"""Books that disagree, and what people did about it."""

from __future__ import annotations

from marshmallow import fields

from app.gateway.answers import Answer, minor_units, moment, one_of, text
from app.gateway.ops.answers.fields import UUID, payment_id, uuid


class Discrepancy(Answer):
    object = one_of("discrepancy")
    id = uuid()
    merchant_id = uuid()
    type = text("clearing_open")
    severity = one_of("critical", "high", "medium", "low")
    status = one_of("open", "acknowledged", "auto_resolved", "resolved", "written_off")
    subject = text(f"payment/{UUID}")
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
