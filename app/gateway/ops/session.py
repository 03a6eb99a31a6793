"""/ops/v1/session: signing in, who is signed in, signing out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import structlog
from apiflask import APIBlueprint
from flask import Response, g

from app.db import Tx
from app.errors import SignInBlocked, SignInRefused
from app.gateway.auth import SESSION_COOKIE
from app.gateway.context import client_address, gateway, operator, sign_in_door
from app.gateway.contract import of_kind
from app.gateway.limits import take_of_address, take_of_operator
from app.gateway.ops import answers
from app.gateway.ops.door import operator_key, refuse_forged, refuse_other_origins, session_token, who_is_in
from app.gateway.ops.proving import prove
from app.gateway.ops.reading import note, noting_failures
from app.gateway.ops.schemas import SignIn
from app.gateway.representation import render
from app.gateway.transaction import Answer, json_body
from app.model.operator_role import RIGHTS, OperatorRole
from app.services import sign_in
from app.services.sign_in import Person

log = structlog.get_logger()

blueprint = APIBlueprint("ops_session", __name__, url_prefix="/ops/v1/session")


def _from_our_page(view: Callable[..., Response]) -> Callable[..., Response]:
    """Strict JSON from a page of ours, before anything is counted or checked."""

    @wraps(view)
    def run(**arguments: Any) -> Response:
        refuse_other_origins()
        json_body()
        take_of_address(gateway())
        return view(**arguments)

    return of_kind("signing_in", run)


@blueprint.post("")
@blueprint.output(answers.Session)
@_from_our_page
@blueprint.input(SignIn)
def begin(json_data: dict[str, Any]) -> Response:
    """Sign in with a name, a password and the code of an authenticator app.

    The answer to a wrong name, password or code is the same, and takes as long.
    """
    edge = gateway()
    key = operator_key(edge)
    try:
        person, token = prove(
            edge.database,
            sign_in_door(),
            key,
            name=json_data["name"].lower(),
            typed=json_data["password"],
            code=json_data["code"],
            address=client_address(),
        )
    except (SignInBlocked, SignInRefused) as refused:
        log.warning("sign-in not let in", code=refused.code, request_id=g.request_id)
        raise
    answer = Answer(200, render(_shown(person["name"], OperatorRole(person["role"]), token, key))).response()
    answer.set_cookie(SESSION_COOKIE, token, secure=True, httponly=True, samesite="Strict", path="/")
    return answer


@blueprint.get("")
@blueprint.output(answers.Session)
@partial(of_kind, "signed_in")
def show() -> Response:
    """Who is signed in, what they may do, and the token that their changes must carry."""
    edge, token = gateway(), session_token()
    key = operator_key(edge)
    hmac = sign_in.token_hmac(token, key)

    def work(tx: Tx) -> Person:
        person = who_is_in(tx, token, edge)
        note(tx, person, "ok", {})
        sign_in.prolong(tx, hmac, edge.settings.timing)
        return person

    with noting_failures(edge, token):
        take_of_operator(edge, hmac, "read")
        person = edge.database.transact(operator("session"), work)
    return Answer(200, render(_shown(person.name, person.role, token, key))).response()


@blueprint.delete("")
@blueprint.output(answers.SessionEnded)
@partial(of_kind, "signing_out")
def end() -> Response:
    """Sign out."""
    edge, token = gateway(), session_token()
    key = operator_key(edge)
    refuse_forged(token, key)
    take_of_operator(edge, sign_in.token_hmac(token, key), "write")

    def work(tx: Tx) -> None:
        who_is_in(tx, token, edge)
        sign_in.end(tx, sign_in.token_hmac(token, key))

    edge.database.transact(operator("session"), work)
    answer = Answer(200, render({"object": "session", "ended": True})).response()
    answer.delete_cookie(SESSION_COOKIE, secure=True, httponly=True, samesite="Strict", path="/")
    return answer


def _shown(name: str, role: OperatorRole, token: str, key: str) -> dict[str, Any]:
    return {
        "object": "session",
        "operator": name,
        "role": role.value,
        "rights": sorted(right.value for right in RIGHTS[role]),
        "csrf_token": sign_in.csrf_token(token, key),
    }
