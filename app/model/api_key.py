"""The form of an API key: `pb_<mode>_<id>_<secret>`; only the id and an HMAC of the secret are ever stored."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256

ID_BYTES = 8
SECRET_BYTES = 32

_FORM = re.compile(r"pb_(?P<mode>live|test)_(?P<id>[0-9a-f]{16})_(?P<secret>[0-9a-f]{64})")


@dataclass(frozen=True)
class ApiKey:
    """A key as its holder sees it; the secret stays out of repr."""

    livemode: bool
    id: str
    secret: str = field(repr=False)

    def text(self) -> str:
        return f"pb_{'live' if self.livemode else 'test'}_{self.id}_{self.secret}"

    def hmac(self, pepper: str) -> bytes:
        """HMAC-SHA256 of the secret under the pepper, 32 bytes; compare with hmac.compare_digest."""
        return hmac.new(pepper.encode(), f"{self.id}:{self.secret}".encode(), sha256).digest()


def new_key(*, livemode: bool) -> ApiKey:
    return ApiKey(livemode=livemode, id=secrets.token_hex(ID_BYTES), secret=secrets.token_hex(SECRET_BYTES))


def parse_key(text: str) -> ApiKey | None:
    """The key in `text`, or None when it does not have the form."""
    match = _FORM.fullmatch(text)
    return ApiKey(livemode=match["mode"] == "live", id=match["id"], secret=match["secret"]) if match else None
