"""Signing in and being signed in, as the database sees it: attempts, codes that work once, sessions by their hash.

What is costly, checking a password, is the edge's and happens between `begin` and `complete`, outside of both.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from app.config import Timing
from app.db import Tx
from app.db.pool import Row
from app.errors import NotSignedIn, SignInBlocked, SignInRefused
from app.model.operator_role import RIGHTS, OperatorRole, Right

TOKEN_BYTES = 32


@dataclass(frozen=True)
class Person:
    """Who is signed in."""

    id: UUID
    name: str
    role: OperatorRole

    def may(self, right: Right) -> bool:
        return right in RIGHTS[self.role]


def new_token() -> str:
    """What a browser holds: 256 random bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hmac(token: str, operator_key: str) -> bytes:
    """What the database holds of a token, 32 bytes."""
    return hmac.new(operator_key.encode(), b"session:" + token.encode(), sha256).digest()


def csrf_token(token: str, operator_key: str) -> str:
    """What a page sends with every change: it can be read by our own pages only, and needs no place to be kept."""
    return hmac.new(operator_key.encode(), b"csrf:" + token.encode(), sha256).hexdigest()


def begin(tx: Tx, name: str, address: str | None) -> Row:
    """Count an attempt, and what must be proven; all None for nobody. Raises SignInBlocked, known name or not."""
    row = tx.one("operators.begin_sign_in", name=name, address=address)
    assert row is not None, "the function answers one row"
    if row["wait"] > 0:
        # Only the counters: nobody has said yet who they are.
        raise SignInBlocked(wait=row["wait"])
    return row


def note_refused(tx: Tx, name: str, address: str | None, *, blocked: bool) -> None:
    """For the audit, which hears of each operator's refusals at most once a second, and so of all others'."""
    tx.run("operators.note_refused_sign_in", name=name, address=address, how="blocked" if blocked else "refused")


def complete(tx: Tx, proven: Row, *, step: int, password_hash: str, address: str | None, hmac: bytes) -> Row:
    """Open a session for what was proven; the code of this step is used up. Raises SignInRefused."""
    row = tx.one(
        "operators.open_session",
        operator_id=proven["operator_id"],
        step=step,
        password_hash=password_hash,
        changed_at=proven["changed_at"],
        address=address,
        token_hmac=hmac,
    )
    if row is None:
        raise SignInRefused()
    return row


def enter(tx: Tx, hmac: bytes, timing: Timing) -> Person:
    """Who is signed in with this token, for whom the transaction acts from here on. Raises NotSignedIn."""
    row = tx.one("operators.enter_session", token_hmac=hmac, idle=timing.session_idle, longest=timing.session_longest)
    if row is None:
        raise NotSignedIn()
    return Person(row["id"], row["name"], OperatorRole(row["role"]))


def prolong(tx: Tx, hmac: bytes, timing: Timing) -> None:
    """Begin the idle time of a session anew, in the round trip of the COMMIT: for who is answered, and not refused."""
    tx.run_last("operators.prolong_session", token_hmac=hmac, idle=timing.session_idle)


def end(tx: Tx, hmac: bytes) -> None:
    """Sign out."""
    tx.run("operators.end_session", token_hmac=hmac)
