"""How a person proves who they are: a password and the code of an authenticator app; costly, so in no transaction."""

from __future__ import annotations

import time

from app.db import Database
from app.db.pool import Row
from app.errors import SignInBlocked, SignInRefused
from app.gateway.ops.passwords import verify
from app.model import password, second_factor
from app.model.actor import Actor
from app.services import sign_in

# Its code is compared for a name that is nobody's.
_NOBODYS_SECRET = second_factor.new_secret()


def prove(
    database: Database, door: Actor, key: str, *, name: str, typed: str, code: str, address: str | None
) -> tuple[Row, str]:
    """Open a session for who this is: their row and the token. Raises SignInBlocked, SignInRefused, Busy.

    What is refused is noted first. A wrong name, password or code is the same refusal, and takes as long.
    """
    try:
        return _prove(database, door, key, name, typed, code, address)
    except (SignInBlocked, SignInRefused) as refused:
        blocked = isinstance(refused, SignInBlocked)
        database.transact(door, lambda tx: sign_in.note_refused(tx, name, address, blocked=blocked))
        raise


def _prove(
    database: Database, door: Actor, key: str, name: str, typed: str, code: str, address: str | None
) -> tuple[Row, str]:
    proven = database.transact(door, lambda tx: sign_in.begin(tx, name, address))
    hashed = verify(proven["password_hash"] or password.NOBODYS, typed)
    secret = second_factor.unseal(proven["totp_secret"] or second_factor.seal(_NOBODYS_SECRET, key), key)
    step = second_factor.step_of(secret or _NOBODYS_SECRET, code, time.time())
    if hashed is None or step is None or proven["operator_id"] is None or secret is None:
        raise SignInRefused()
    token = sign_in.new_token()
    hmac = sign_in.token_hmac(token, key)
    person = database.transact(
        door, lambda tx: sign_in.complete(tx, proven, step=step, password_hash=hashed, address=address, hmac=hmac)
    )
    return person, token
