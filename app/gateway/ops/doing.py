"""How a signed-in person does something: for a reason, once per Idempotency-Key, from our own page, all or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any
from uuid import UUID

from flask import Response, request

from app.config import PLATFORM_MERCHANT_ID
from app.db import Tx
from app.db.pool import Timeouts
from app.gateway.context import gateway, operator
from app.gateway.contract import of_kind
from app.gateway.idempotency import fingerprint, required_key
from app.gateway.limits import take_of_operator
from app.gateway.ops.door import operator_key, refuse_forged, refuse_without, session_token, who_is_in
from app.gateway.representation import render
from app.gateway.transaction import Answer, json_body
from app.model.operator_role import Right
from app.services import idempotency, sign_in
from app.services.sign_in import token_hmac

# Keys of operators are kept beside those of merchants, as the platform's.
_KEEPER = UUID(PLATFORM_MERCHANT_ID)

Doing = Callable[..., tuple[Mapping[str, Any], int]]


def doing(right: Right, *, once: tuple[str, ...] = ()) -> Callable[[Doing], Callable[..., Response]]:
    """Run `view(tx, person, ...)` once per person and Idempotency-Key and answer with (body, status).

    Who acts, the claim of the key, the act and its stored answer commit together or not at all. `once` names members
    that are shown the first time and never stored: a replay says null. After the commit idle workers are woken.
    """

    def decorate(view: Doing) -> Callable[..., Response]:
        @wraps(view)
        def run(**arguments: Any) -> Response:
            edge, token = gateway(), session_token()
            secret = operator_key(edge)
            refuse_forged(token, secret)
            hmac = token_hmac(token, secret)
            take_of_operator(edge, hmac, "write")
            key = required_key(request.headers.get("Idempotency-Key"))
            given = json_body()
            print_ = fingerprint(request.method, request.path, given)

            def work(tx: Tx) -> Answer:
                person = who_is_in(tx, token, edge, reason=_reason(given))
                refuse_without(person, right)
                kept_as = "ops:" + hashlib.sha256(f"{person.name}\0{key}".encode()).hexdigest()
                stored = idempotency.claim(tx, _KEEPER, kept_as, print_)
                sign_in.prolong(tx, hmac, edge.settings.timing)
                if stored is not None:
                    return Answer(stored.status, stored.body, replayed=True)
                body, status = view(tx, person, **arguments)
                kept = render({name: None if name in once else value for name, value in body.items()})
                idempotency.keep(tx, _KEEPER, kept_as, status=status, body=kept)
                return Answer(status, render(body))

            limits = Timeouts(lock=max(1, round(edge.settings.timing.idempotency_lock * 1000)))
            answer = edge.database.transact(operator("session"), work, timeouts=limits)
            edge.waker.wake()
            return answer.response()

        run.right = right  # type: ignore[attr-defined]
        return of_kind("doing", run)

    return decorate


def _reason(given: Any) -> str | None:
    """For the audit; that there is one, and of what shape, the view's schema says before anything is done."""
    reason = given.get("reason") if isinstance(given, dict) else None
    return reason if isinstance(reason, str) else None
