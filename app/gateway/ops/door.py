"""Who stands at the door of /ops/v1: the session cookie, and that a change comes from our own pages."""

from __future__ import annotations

import hmac

from flask import g, request

from app.db import Tx
from app.errors import NotSignedIn, RoleRefused
from app.gateway.auth import SESSION_COOKIE
from app.gateway.context import Gateway, operator
from app.gateway.problems import CrossSite, OperatorsOff
from app.model.operator_role import Right
from app.services import sign_in
from app.services.sign_in import Person

CSRF_HEADER = "X-CSRF-Token"


def operator_key(edge: Gateway) -> str:
    """The key over tokens and second factors. Raises OperatorsOff."""
    if not edge.settings.operator_key:
        raise OperatorsOff()
    return edge.settings.operator_key


def session_token() -> str:
    """What the browser holds. Raises NotSignedIn."""
    token = request.cookies.get(SESSION_COOKIE, "")
    if not token:
        raise NotSignedIn()
    return token


def refuse_other_origins() -> None:
    """A change comes from a page of this very origin, and every browser says where it comes from. Raises CrossSite."""
    if request.headers.get("Origin") != f"{request.scheme}://{request.host}":
        raise CrossSite()


def refuse_forged(token: str, key: str) -> None:
    """And from a page that could read what signing in answered. Raises CrossSite."""
    refuse_other_origins()
    given = request.headers.get(CSRF_HEADER, "").encode()
    if not hmac.compare_digest(given, sign_in.csrf_token(token, key).encode()):
        raise CrossSite()


def who_is_in(tx: Tx, token: str, edge: Gateway, *, reason: str | None = None) -> Person:
    """Who is signed in, for whom the transaction acts from here on. Raises NotSignedIn."""
    person = sign_in.enter(tx, sign_in.token_hmac(token, operator_key(edge)), edge.settings.timing)
    g.operator_id = person.id
    tx.act_as(operator(person.name, reason=reason))
    return person


def refuse_without(person: Person, right: Right) -> None:
    """Raises RoleRefused when the person's role does not include the right."""
    if not person.may(right):
        raise RoleRefused(f"The role {person.role.value} does not include: {right.value}.")
