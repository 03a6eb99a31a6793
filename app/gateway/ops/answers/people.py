"""Who operates Postbox, and what they looked at."""

from __future__ import annotations

from app.gateway.answers import Answer, moment, one_of, text
from app.gateway.ops.answers.fields import uuid, whole
from app.model.operator_role import OperatorRole


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
