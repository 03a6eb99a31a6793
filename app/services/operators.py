"""The people who operate Postbox: enrolled, listed, reset and disabled; what proves who they are is shown once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from app.db.pool import Row, Tx
from app.errors import Invalid, NotFound
from app.model import password, second_factor

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


@dataclass(frozen=True)
class Proof:
    """What a person proves who they are with. Made outside a transaction: hashing takes its time."""

    password: str = field(repr=False)
    secret: str = field(repr=False)
    password_hash: str = field(repr=False)
    sealed_secret: str = field(repr=False)


def new_proof(operator_key: str) -> Proof:
    """A generated password and a TOTP secret. Raises Invalid without a key to seal it under."""
    if not operator_key:
        raise Invalid("POSTBOX_OPERATOR_KEY is not set: second factors cannot be stored without it")
    generated, secret = password.new_password(), second_factor.new_secret()
    return Proof(generated, secret, password.hash_password(generated), second_factor.seal(secret, operator_key))


def create(tx: Tx, name: str, *, role: str, proof: Proof) -> Row:
    """A new person. Raises Invalid when the name is no short word, or was ever taken."""
    if not _NAME.fullmatch(name):
        raise Invalid("an operator's name is a short word in lower case, like ann or ann@example.com")
    row = tx.one("operators.create", name=name, role=role)
    if row is None:
        raise Invalid(f"there is an operator {name}, or there was: a name stays one person's")
    tx.run(
        "operators.enroll",
        operator_id=row["id"],
        password_hash=proof.password_hash,
        totp_secret=proof.sealed_secret,
    )
    return row


def everybody(tx: Tx) -> list[Row]:
    """All operators by name, also those who left."""
    return tx.all("operators.all")


def disable(tx: Tx, name: str, *, reason: str) -> Row:
    """A person leaves: signed out at once, for good. Raises NotFound, Invalid when they left before."""
    tx.run("transactions.because", reason=reason)
    row = tx.one("operators.disable", name=name)
    if row is None:
        _named(tx, name)
        raise Invalid(f"{name} was disabled before")
    tx.run("operators.end_sessions", operator_id=row["id"])
    return row


def reset(tx: Tx, name: str, *, reason: str, proof: Proof) -> Row:
    """Another password and second factor; who is signed in as this person no longer is. Raises NotFound, Invalid."""
    row = _named(tx, name)
    if row["disabled_at"] is not None:
        raise Invalid(f"{name} is disabled: who comes back gets another name")
    tx.run("transactions.because", reason=reason)
    tx.run(
        "operators.reset",
        operator_id=row["id"],
        password_hash=proof.password_hash,
        totp_secret=proof.sealed_secret,
    )
    tx.run("operators.end_sessions", operator_id=row["id"])
    return row


def _named(tx: Tx, name: str) -> Row:
    row = tx.one("operators.named", name=name)
    if row is None:
        raise NotFound(f"there is no operator {name}")
    return row
