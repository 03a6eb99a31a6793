"""The shape of requests; what exists, whose it is and what its state allows is the database's to say."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from apiflask import Schema
from marshmallow import RAISE, ValidationError, fields, validate

from app.gateway.card_numbers import holds_card_number
from app.gateway.strict_json import LARGEST, UNSTORABLE
from app.model.states import State

# Bounds of the columns behind them (payments_texts_are_bounded) and of what providers take back in metadata.
REFERENCE, DESCRIPTION, DESCRIPTOR, URL, TOKEN = 200, 1_000, 22, 2_000, 255
METADATA_MEMBERS, METADATA_KEY, METADATA_VALUE = 50, 40, 500
# A page is one query and one answer in memory.
PAGE, MAX_PAGE = 20, 100

CARD_NUMBER = "This looks like a card number; send a token instead."

# Why a merchant cancels, in our words; the others of payments_cancel_reason_is_known are ours to use.
CANCEL_REASONS = ("requested", "abandoned", "duplicate", "fraudulent")

_CURRENCY = re.compile(r"[a-z]{3}")
_TOKEN = re.compile(r"[A-Za-z0-9_\-]+")
# What card networks print: Stripe, "Statement descriptors".
_DESCRIPTOR = re.compile(r"(?=.*[A-Za-z])[ -~]+")
_DESCRIPTOR_BANS = frozenset("<>\\'\"*")


class MinorUnits(fields.Field[int]):
    """An amount as a JSON integer: no float, no text, no boolean."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if type(value) is not int or not 0 < value <= LARGEST:
            raise ValidationError("Must be a positive integer, in minor units of the currency.")
        return value


class Text(fields.String):
    """Text that can be stored, is not blank, and holds no card number."""

    def __init__(self, longest: int, **kwargs: Any) -> None:
        checks = [validate.Length(min=1, max=longest), *kwargs.pop("checks", ())]
        super().__init__(validate=checks, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        assert isinstance(text, str), "a String field deserializes to a string"
        if UNSTORABLE.search(text):
            raise ValidationError("Holds a character that cannot be stored.")
        if holds_card_number(text):
            raise ValidationError(CARD_NUMBER)
        return text


def _web_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.username is not None or not re.fullmatch(r"[!-~]+", text):
        raise ValidationError("Must be an http or https URL in ASCII, without credentials.")


def _descriptor(text: str) -> None:
    if not _DESCRIPTOR.fullmatch(text) or _DESCRIPTOR_BANS & set(text):
        raise ValidationError("Must be ASCII with at least one letter and none of < > \\ ' \" *.")


class Strict(Schema):
    """Refuses members it does not know: a misspelt one must not be silently ignored."""

    class Meta:
        unknown = RAISE


class Method(Strict):
    type = fields.String(required=True, validate=validate.OneOf(["card"]))
    token = Text(TOKEN, required=True, checks=[validate.Regexp(_TOKEN.pattern + r"\Z", error="Must be a token.")])


class CreatePayment(Strict):
    amount = MinorUnits(required=True)
    currency = fields.String(
        required=True, validate=validate.Regexp(_CURRENCY.pattern + r"\Z", error="Must be three lower-case letters.")
    )
    method = fields.Nested(Method, required=True)
    capture_method = fields.String(load_default="automatic", validate=validate.OneOf(["automatic", "manual"]))
    # Where the payer comes back to from a challenge: Stripe refuses to confirm without it while the payer is present.
    return_url = Text(URL, required=True, checks=[_web_url])
    reference = Text(REFERENCE)
    description = Text(DESCRIPTION)
    statement_descriptor = Text(DESCRIPTOR, checks=[_descriptor])
    metadata = fields.Dict(
        keys=Text(METADATA_KEY), values=Text(METADATA_VALUE), validate=validate.Length(max=METADATA_MEMBERS)
    )


class CapturePayment(Strict):
    amount = MinorUnits()


class CancelPayment(Strict):
    reason = fields.String(load_default="requested", validate=validate.OneOf(CANCEL_REASONS))


class Page(Strict):
    limit = fields.Integer(load_default=PAGE, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.String()


class ListPayments(Page):
    state = fields.String(validate=validate.OneOf([state.value for state in State]))
    reference = Text(REFERENCE)
    currency = fields.String(validate=validate.Regexp(_CURRENCY.pattern + r"\Z"))
    created_gte = fields.AwareDateTime(format="iso", data_key="created[gte]")
    created_lt = fields.AwareDateTime(format="iso", data_key="created[lt]")


class ListEvents(Page):
    topic = Text(100)
