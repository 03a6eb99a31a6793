"""The shape of what operators send."""

from __future__ import annotations

from marshmallow import fields, validate

from app.gateway.schemas import Strict
from app.model.password import LONGEST


class SignIn(Strict):
    # What is no name of ours is answered like a name that is nobody's: a shape would tell which names there can be.
    name = fields.String(
        required=True,
        validate=validate.Regexp(r"[!-~]{1,64}\Z", error="Must be a name."),
        metadata={"pattern": "^[!-~]{1,64}$", "examples": ["ann"]},
    )
    password = fields.String(
        required=True,
        validate=validate.Length(min=1, max=LONGEST),
        metadata={"examples": ["correct horse battery staple"]},
    )
    code = fields.String(
        required=True,
        validate=validate.Regexp(r"[0-9]{6}\Z", error="Must be six digits."),
        metadata={"pattern": "^[0-9]{6}$", "examples": ["123456"]},
    )
