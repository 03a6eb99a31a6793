"""The shape of requests; what exists, whose it is and what its state allows is the database's to say."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from apiflask import Schema
from marshmallow import INCLUDE, RAISE, ValidationError, fields, validate

from app.gateway.card_numbers import holds_card_number
from app.gateway.cursor import MAX_LENGTH as MAX_CURSOR
from app.gateway.strict_json import LARGEST, UNSTORABLE
from app.model.operation import REFUND_REASONS
from app.model.states import DisputeState, RefundState, State

# Bounds of the columns behind them (payments_texts_are_bounded) and of what providers take back in metadata.
REFERENCE, DESCRIPTION, DESCRIPTOR, URL, TOKEN = 200, 1_000, 22, 2_000, 255
METADATA_MEMBERS, METADATA_KEY, METADATA_VALUE = 50, 40, 500
# A page is one query and one answer in memory.
PAGE, MAX_PAGE = 20, 100

# The last second that a timestamp of Python's can hold: the end of the year 9999.
LARGEST_SECOND = 253_402_300_799

CARD_NUMBER = "This looks like a card number; send a token instead."

# Why a merchant cancels, in our words; the others of payments_cancel_reason_is_known are ours to use.
CANCEL_REASONS = ("requested", "abandoned", "duplicate", "fraudulent")

CURRENCY = "[a-z]{3}"
_PROVIDER_IDS = r"[A-Za-z0-9_\-]+"
# What card networks print: Stripe, "Statement descriptors".
_DESCRIPTOR = r"[ !#-&(-)+-;=?-\[\]-~]*[A-Za-z][ !#-&(-)+-;=?-\[\]-~]*"
# What the column and UTF-8 can hold; the document cannot name half a surrogate pair, which is no text anyway.
_STORABLE = r"[^\u0000]*"


class Matches:
    """The whole text, as a validator; the document shows it anchored, in the syntax of ECMA-262 that both share."""

    def __init__(self, pattern: str, error: str, *, also: Callable[[str], bool] = bool) -> None:
        self.shown = f"^(?:{pattern})$"
        self._pattern, self._error, self._also = re.compile(pattern), error, also

    def __call__(self, text: str) -> None:
        if not self._pattern.fullmatch(text) or not self._also(text):
            raise ValidationError(self._error)


class MinorUnits(fields.Field[int]):
    """An amount as a JSON integer: no float, no text, no boolean."""

    def __init__(self, **kwargs: Any) -> None:
        told = {"type": "integer", "minimum": 1, "maximum": LARGEST, "examples": [1_999]}
        super().__init__(metadata=told | {"description": "In minor units of the currency."}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if type(value) is not int or not 0 < value <= LARGEST:
            raise ValidationError("Must be a positive integer, in minor units of the currency.")
        return value


class WholeNumber(fields.Integer):
    """A number of a query: ASCII digits, and none of what Python's int() reads besides."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", str(value)):
            raise ValidationError("Not a valid integer.")
        return int(value)


class Text(fields.String):
    """Text that can be stored, is not blank, and holds no card number."""

    def __init__(self, longest: int, *, example: str, like: Matches | None = None, **kwargs: Any) -> None:
        checks: list[Callable[[str], Any]] = [validate.Length(min=1, max=longest), *([like] if like else [])]
        told = {"pattern": like.shown if like else f"^{_STORABLE}$", "examples": [example]}
        super().__init__(validate=checks, metadata=told | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        assert isinstance(text, str), "a String field deserializes to a string"
        if UNSTORABLE.search(text):
            raise ValidationError("Holds a character that cannot be stored.")
        if holds_card_number(text):
            raise ValidationError(CARD_NUMBER)
        return text


def _is_usable_url(text: str) -> bool:
    """Whether a browser can be sent there, without telling whoever stands in the URL who the payer is."""
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0) and parts.username is None
    except ValueError:
        return False


def _few_members(given: dict[str, str]) -> None:
    if len(given) > METADATA_MEMBERS:
        raise ValidationError(f"Must have at most {METADATA_MEMBERS} members.")


def currency(**kwargs: Any) -> fields.String:
    like = Matches(CURRENCY, "Must be three lower-case letters.")
    return fields.String(validate=like, metadata={"pattern": like.shown, "examples": ["usd"]}, **kwargs)


def one_of(*values: str, **kwargs: Any) -> fields.String:
    return fields.String(validate=validate.OneOf(values), metadata={"examples": [values[0]]}, **kwargs)


class Strict(Schema):
    """Refuses members it does not know: a misspelt one must not be silently ignored."""

    class Meta:
        unknown = RAISE


class Method(Strict):
    type = one_of("card", required=True)
    token = Text(TOKEN, required=True, example="pm_card_visa", like=Matches(_PROVIDER_IDS, "Must be a token."))


class CreatePayment(Strict):
    amount = MinorUnits(required=True)
    currency = currency(required=True)
    method = fields.Nested(Method, required=True)
    capture_method = one_of("automatic", "manual", load_default="automatic")
    # Where the payer comes back to from a challenge: Stripe refuses to confirm without it while the payer is present.
    return_url = Text(
        URL,
        required=True,
        example="https://shop.example/back",
        like=Matches(
            "[Hh][Tt][Tt][Pp][Ss]?://[!-~]+",
            "Must be an http or https URL in ASCII, without credentials.",
            also=_is_usable_url,
        ),
    )
    reference = Text(REFERENCE, example="order-1")
    description = Text(DESCRIPTION, example="Two tickets")
    statement_descriptor = Text(
        DESCRIPTOR,
        example="SHOP TICKETS",
        like=Matches(_DESCRIPTOR, "Must be ASCII with at least one letter and none of < > \\ ' \" *."),
    )
    metadata = fields.Dict(
        keys=Text(METADATA_KEY, example="cart"),
        values=Text(METADATA_VALUE, example="9"),
        validate=_few_members,
        metadata={
            "maxProperties": METADATA_MEMBERS,
            "x_propertyNames": {"minLength": 1, "maxLength": METADATA_KEY, "pattern": f"^{_STORABLE}$"},
            "examples": [{"cart": "9"}],
        },
    )


class CapturePayment(Strict):
    amount = MinorUnits()


class CancelPayment(Strict):
    reason = one_of(*CANCEL_REASONS, load_default="requested")


class CreateRefund(Strict):
    amount = MinorUnits()
    reason = one_of(*REFUND_REASONS, load_default="requested")


class Page(Strict):
    limit = WholeNumber(load_default=PAGE, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.String(
        metadata={"description": "`next_cursor` of the page before; nothing else is one.", "maxLength": MAX_CURSOR}
    )


class Names(fields.Field[list[str]]):
    """Names of a query, parted by commas."""

    def __init__(self, *known: str, **kwargs: Any) -> None:
        self._known = known
        one = "|".join(known)
        told = {"type": "string", "pattern": f"^({one})(,({one}))*$", "examples": [known[0]], "maxLength": 100}
        super().__init__(metadata=told, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        names = str(value).split(",")
        if len(str(value)) > 100 or not set(names) <= set(self._known):
            raise ValidationError(f"Must be some of: {', '.join(self._known)}.")
        return names


class ListPayments(Page):
    state = one_of(*(state.value for state in State))
    reference = Text(REFERENCE, example="order-1")
    method = one_of("card", "us_bank_account", "ach")
    currency = currency()
    amount = WholeNumber(validate=validate.Range(1, LARGEST), metadata={"examples": [1_999]})
    created_gte = fields.AwareDateTime(
        format="iso", data_key="created[gte]", metadata={"examples": ["2026-11-01T00:00:00Z"]}
    )
    created_lt = fields.AwareDateTime(
        format="iso", data_key="created[lt]", metadata={"examples": ["2026-12-01T00:00:00Z"]}
    )
    expand = Names("refunds", "disputes", load_default=lambda: [])


class ListRefunds(Page):
    state = one_of(*(state.value for state in RefundState))
    payment = Text(100, example="pay_019abc3e5f7a7c41b2f09d8e6a1b2c3d")


class ListDisputes(Page):
    state = one_of(*(state.value for state in DisputeState))
    payment = Text(100, example="pay_019abc3e5f7a7c41b2f09d8e6a1b2c3d")


class Expand(Strict):
    expand = Names("history", "refunds", "disputes", load_default=lambda: [])


class ListEvents(Page):
    topic = Text(100, example="payment.confirmed")


class StripeData(Schema):
    """What the event is about, as Stripe has it; only its names are read, and the object is fetched anew."""

    class Meta:
        unknown = INCLUDE

    object = fields.Dict(
        required=True, metadata={"examples": [{"object": "payment_intent", "id": "pi_3Q9Zc2eZvKYlo2C11Rk0a1bc"}]}
    )


class StripeEvent(Schema):
    """For the document: the provider's adapter reads the raw bytes, because the signature is over them."""

    class Meta:
        unknown = INCLUDE

    id = fields.String(
        required=True, metadata={"pattern": "^[A-Za-z0-9_]{1,255}$", "examples": ["evt_1Q9Zc2eZvKYlo2C1"]}
    )
    object = one_of("event", required=True)
    type = fields.String(
        required=True,
        metadata={"minLength": 1, "pattern": f"^{_STORABLE}$", "examples": ["payment_intent.succeeded"]},
    )
    livemode = fields.Boolean(required=True, metadata={"examples": [False]})
    created = fields.Integer(
        required=True, metadata={"minimum": 0, "maximum": LARGEST_SECOND, "examples": [1_795_000_000]}
    )
    data = fields.Nested(StripeData, required=True)
