"""What the fields of answers to operators are made of."""

from __future__ import annotations

from apiflask import Schema
from marshmallow import fields

from app.gateway.answers import Answer, identity, one_of, text
from app.model import public_id

UUID = "019abc3e-5f7a-7c41-b2f0-9d8e6a1b2c3d"
HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def uuid(*, null: bool = False) -> fields.String:
    return fields.String(allow_none=null, metadata={"format": "uuid", "examples": [UUID]})


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
