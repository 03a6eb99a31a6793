"""Finds card numbers in free text, so that they are refused before they are stored (PCI DSS: tokens only)."""

from __future__ import annotations

import re
import unicodedata

# ISO/IEC 7812: a primary account number has at most 19 digits; the shortest in use has 13.
SHORTEST, LONGEST = 13, 19

# Digits as people write them: one space or dash between groups.
_RUN = re.compile(r"[0-9](?:[ -]?[0-9])*")
_GROUP = re.compile(r"[0-9]+")


def holds_card_number(text: str) -> bool:
    """Whether some run of 13 to 19 digits in `text`, also one written in groups, passes the Luhn check."""
    for run in _RUN.findall(unicodedata.normalize("NFKC", text)):
        groups = _GROUP.findall(run)
        for first in range(len(groups)):
            digits = ""
            for group in groups[first:]:
                digits += group
                if len(digits) > LONGEST:
                    break
                if len(digits) >= SHORTEST and _passes_luhn(digits):
                    return True
    return False


def _passes_luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
