"""The form of an API key: `pb_<mode>_<id>_<secret><checksum>`; only the id and an HMAC of the secret are ever stored.

The checksum is the CRC-32 of all before it, as in GitHub's tokens: what was mistyped or cut off is refused without a
look into the database, and a scanner that finds something of this form in a repository knows that it is a key.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from zlib import crc32

ID_BYTES = 8
SECRET_BYTES = 32
# As many base 62 digits as 256 and 32 bits need.
SECRET_DIGITS = 43
CHECKSUM_DIGITS = 6

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(
    r"pb_(?P<mode>live|test)_(?P<id>[0-9a-f]{16})_(?P<secret>[0-9A-Za-z]{43})(?P<checksum>[0-9A-Za-z]{6})"
)


@dataclass(frozen=True)
class ApiKey:
    """A key as its holder sees it; the secret stays out of repr."""

    livemode: bool
    id: str
    secret: str = field(repr=False)

    def text(self) -> str:
        unchecked = f"pb_{'live' if self.livemode else 'test'}_{self.id}_{self.secret}"
        return unchecked + _base62(crc32(unchecked.encode()), CHECKSUM_DIGITS)

    def hmac(self, pepper: str) -> bytes:
        """HMAC-SHA256 of the secret under the pepper, 32 bytes; compare with hmac.compare_digest."""
        return hmac.new(pepper.encode(), f"{self.id}:{self.secret}".encode(), sha256).digest()


def new_key(*, livemode: bool) -> ApiKey:
    secret = _base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), SECRET_DIGITS)
    return ApiKey(livemode=livemode, id=secrets.token_hex(ID_BYTES), secret=secret)


def parse_key(text: str) -> ApiKey | None:
    """The key in `text`, or None when it has not the form or its checksum is another's."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    key = ApiKey(livemode=match["mode"] == "live", id=match["id"], secret=match["secret"])
    return key if key.text() == text else None


def _base62(number: int, digits: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    assert len(text) <= digits, f"{digits} digits hold every number there is"
    return text.rjust(digits, "0")
