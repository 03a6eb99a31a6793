"""Passwords as Argon2id: made, checked, and told when their parameters are of an earlier time. Costly on purpose."""

from __future__ import annotations

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# OWASP, "Password Storage Cheat Sheet": 19 MiB, two passes, one lane. About 20 ms of one core.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)

# The hash of a password that was thrown away. Checked for a name that is nobody's, so that it takes as long.
NOBODYS = "$argon2id$v=19$m=19456,t=2,p=1$qN0sIs+Q5bfHw5iSp7pAIg$MYFTVLVmxJp6C1ykOvMJWFrbLjrhGGIYQqKLwtSg7z8"

# Longer is no safer and costs us: NIST SP 800-63B asks for at least 64.
LONGEST = 128
# 18 random bytes, as 24 characters: beyond guessing by themselves.
_GENERATED_BYTES = 18


def new_password() -> str:
    """A password that nobody chose."""
    return secrets.token_urlsafe(_GENERATED_BYTES)


def hash_password(password: str) -> str:
    """The hash in PHC form, `$argon2id$...`."""
    return _HASHER.hash(password)


def check_password(hashed: str, password: str) -> bool:
    """Whether the hash is of this password; takes as long either way."""
    try:
        return _HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(hashed: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(hashed)
