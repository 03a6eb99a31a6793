"""Who is signed in."""

from __future__ import annotations

from marshmallow import fields

from app.gateway.answers import Answer, one_of, text
from app.gateway.ops.answers.fields import yes_or_no
from app.model.operator_role import OperatorRole, Right


class Session(Answer):
    object = one_of("session")
    operator = text("ann")
    role = one_of(*OperatorRole)
    rights = fields.List(one_of(*Right))
    csrf_token = text("0" * 64)


class SessionEnded(Answer):
    object = one_of("session")
    ended = yes_or_no(True)
