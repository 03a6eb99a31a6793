"""The ids of the API: a prefix that says what it is, and the UUID without dashes; the database knows only UUIDs."""

from __future__ import annotations

import re
from uuid import UUID

PAYMENT = "pay_"
OPERATION = "op_"
REFUND = "re_"
DISPUTE = "dp_"
EVENT = "evt_"
ENTRY = "le_"
DISCREPANCY = "dis_"
MERCHANT_PAYOUT = "mpo_"

_HEX = re.compile(r"[0-9a-f]{32}")


def show(prefix: str, identity: UUID) -> str:
    """`pay_` and 32 hex digits."""
    return prefix + identity.hex


def parse(prefix: str, text: str) -> UUID | None:
    """The UUID in `text`, or None when it is not an id of this kind."""
    digits = text.removeprefix(prefix)
    if digits == text or not _HEX.fullmatch(digits):
        return None
    return UUID(hex=digits)
