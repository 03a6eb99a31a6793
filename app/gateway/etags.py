"""A payment's version as an entity tag (RFC 9110, 8.8.3), and the versions that If-Match allows (13.1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# A version is a bigint; more digits are no version of ours.
_TAG = re.compile(r'(?:^|,)[ \t]*"([0-9]{1,18})"[ \t]*(?=,|$)')


def of(body: Mapping[str, Any]) -> str | None:
    """The tag of an answer that is one payment; other answers have none."""
    return f'"{body["version"]}"' if body.get("object") == "payment" else None


def allowed(if_match: str | None) -> frozenset[int] | None:
    """The versions named; None when any will do. What is no strong tag of ours matches nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    return frozenset(int(digits) for digits in _TAG.findall(if_match))
