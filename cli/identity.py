"""How ids are typed at the command line: as the API prints them, or as bare UUIDs."""

from __future__ import annotations

from uuid import UUID

import click

from app.model import public_id


class PaymentId(click.ParamType[UUID]):
    """pay_ and 32 hex digits, or a UUID."""

    name = "payment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        if isinstance(value, UUID):
            return value
        text = str(value).strip()
        found = public_id.parse(public_id.PAYMENT, text) or as_uuid(text)
        if found is None:
            self.fail(f"{text!r} is no payment id: pay_ and 32 hex digits, or a UUID", param, ctx)
        return found


def as_uuid(text: str) -> UUID | None:
    """The UUID in `text`, with or without dashes."""
    try:
        return UUID(text)
    except ValueError:
        return None


PAYMENT_ID = PaymentId()
