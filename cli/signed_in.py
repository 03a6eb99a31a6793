"""Who is at the keyboard, proven: what takes two people is done by somebody who signs in, for this one command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from app.db.pool import Database, Tx
from app.errors import Invalid
from app.model.actor import Actor, ActorType, Role
from app.services import sign_in
from app.services.sign_in import Person
from cli.session import Session

T = TypeVar("T")

# As at /ops/v1: who opens a session is nobody yet.
DOOR = Actor(ActorType.API, "door:cli", Role.API)


def act_signed_in(session: Session, work: Callable[[Tx, Person], T], *, reason: str) -> T:
    """Ask for a password and a code, and run `work` in one transaction as who that is; then sign out.

    Sessions are opened under the web's login, DATABASE_URL. Raises SignInBlocked, SignInRefused, Invalid.
    """
    key = session.settings.operator_key
    if not key:
        raise Invalid("POSTBOX_OPERATOR_KEY is not set: who decides signs in at /ops/v1")
    hmac = sign_in.token_hmac(_token(session, key), key)

    def as_person(tx: Tx) -> T:
        person = sign_in.enter(tx, hmac, session.settings.timing)
        return work(tx, person)

    try:
        return session.act(as_person, reason=reason)
    finally:
        session.act(lambda tx: sign_in.end(tx, hmac))


def _token(session: Session, key: str) -> str:
    from app.gateway.ops.proving import prove  # the gateway is heavy, and few commands need it

    name = session.operator
    typed = click.prompt(f"Password of {name}", hide_input=True, err=True)
    code = click.prompt("Code", err=True)
    with Database(session.settings.database_url, size=1, application="postbox cli door") as database:
        _, token = prove(database, DOOR, key, name=name, typed=typed, code=code, address=None)
    return token
