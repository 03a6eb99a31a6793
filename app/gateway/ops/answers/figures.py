"""Live figures, circuits and pauses."""

from __future__ import annotations

from marshmallow import fields

from app.gateway.answers import Answer, moment, one_of, text
from app.gateway.ops.answers.fields import number, whole
from app.model.states import State


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


class SetPause(Pause):
    object = one_of("pause")


class LiftedPause(Pause):
    """`released` deliveries that had waited behind it are due at once."""

    object = one_of("pause_lifted")
    released = whole(0)
