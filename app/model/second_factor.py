"""The second factor, TOTP (RFC 6238): its secret, sealed under a key the database does not hold, and its codes."""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256

import pyotp
from cryptography.fernet import Fernet, InvalidToken

# What authenticator apps assume: SHA-1, six digits, 30 seconds.
STEP_SECONDS = 30
# A code of the step before or after is taken: clocks differ and people type slowly.
TOLERANCE = 1


def new_secret() -> str:
    """A new secret in base 32, as authenticator apps take it."""
    return pyotp.random_base32()


def code(secret: str, at: float) -> str:
    """The code of this moment, in seconds since 1970."""
    return pyotp.TOTP(secret).at(int(at))


def step_of(secret: str, typed: str, at: float) -> int | None:
    """The 30-second step whose code was typed, or None; every step is compared, in constant time."""
    now, found = int(at) // STEP_SECONDS, None
    for step in range(now - TOLERANCE, now + TOLERANCE + 1):
        if hmac.compare_digest(code(secret, step * STEP_SECONDS).encode(), typed.encode()):
            found = step
    return found


def enrollment_uri(secret: str, name: str) -> str:
    """What an authenticator app scans."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Postbox")


def seal(secret: str, key: str) -> str:
    """The secret as the database may hold it: encrypted and authenticated (Fernet) under a key made from `key`."""
    return _box(key).encrypt(secret.encode()).decode()


def unseal(sealed: str, key: str) -> str | None:
    """The secret, or None when it was sealed under another key."""
    try:
        return _box(key).decrypt(sealed.encode()).decode()
    except InvalidToken:
        return None


def _box(key: str) -> Fernet:
    derived = hmac.new(key.encode(), b"postbox second factor", sha256).digest()
    return Fernet(base64.urlsafe_b64encode(derived))
