"""How ids are typed at the command line: as the API prints them, or as bare UUIDs."""

from __future__ import annotations

from uuid import UUID

import click

from app.model import public_id


class PublicId(click.ParamType[UUID]):
    """A prefix that says of what, and 32 hex digits; or a UUID."""

    def __init__(self, prefix: str, name: str) -> None:
        self.prefix = prefix
        self.name = name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        if isinstance(value, UUID):
            return value
        text = str(value).strip()
        found = public_id.parse(self.prefix, text) or as_uuid(text)
        if found is None:
            self.fail(f"{text!r} is no {self.name} id: {self.prefix} and 32 hex digits, or a UUID", param, ctx)
        return found


def as_uuid(text: str) -> UUID | None:
    """The UUID in `text`, with or without dashes."""
    try:
        return UUID(text)
    except ValueError:
        return None


PAYMENT_ID = PublicId(public_id.PAYMENT, "payment")
REFUND_ID = PublicId(public_id.REFUND, "refund")
DISPUTE_ID = PublicId(public_id.DISPUTE, "dispute")
ENTRY_ID = PublicId(public_id.ENTRY, "entry")
DISCREPANCY_ID = PublicId(public_id.DISCREPANCY, "discrepancy")
MERCHANT_PAYOUT_ID = PublicId(public_id.MERCHANT_PAYOUT, "merchant payout")
