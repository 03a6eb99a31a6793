"""Finds card numbers in free text, so that they are refused before they are stored (PCI DSS: tokens only)."""

from __future__ import annotations

import re
import unicodedata

# ISO/IEC 7812: a primary account number has at most 19 digits; the shortest in use has 13.
SHORTEST, LONGEST = 13, 19

# Digits as people write them: one space or dash between groups.
_RUN = re.compile(r"[0-9](?:[ -]?[0-9])*")
_GROUP = re.compile(r"[0-9]+")
# One UUID in 350 holds such a run by chance, and ids are what references are made of.
_UUID = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(-?)(?:[0-9a-fA-F]{4}\1){3}[0-9a-fA-F]{12}(?![0-9a-fA-F])")
_LETTER = re.compile(r"[a-fA-F]")


def holds_card_number(text: str) -> bool:
    """Whether some run of 13 to 19 digits in `text`, also one written in groups, passes the Luhn check.

    A UUID is none, unless it is written in digits alone.
    """
    searched = _UUID.sub(
        lambda found: "|" if _LETTER.search(found[0]) else found[0], unicodedata.normalize("NFKC", text)
    )
    for run in _RUN.findall(searched):
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
