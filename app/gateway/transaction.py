"""The two ways a view reaches the database: `reading`, and `writing` with an Idempotency-Key; one transaction each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from flask import Response, g, request

from app.db import Tx
from app.db.pool import Timeouts
from app.errors import KeyReused, NotFound
from app.gateway import etags
from app.gateway.auth import bearer_key
from app.gateway.body import read_body
from app.gateway.context import Gateway, actor, client_address, gateway
from app.gateway.contract import of_kind
from app.gateway.idempotency import fingerprint, required_key
from app.gateway.limits import take
from app.gateway.problems import WrongMediaType, WrongMode
from app.gateway.representation import render
from app.gateway.strict_json import parse
from app.model import public_id
from app.model.api_key import ApiKey
from app.model.scope import Scope
from app.services import idempotency, payments
from app.services.admission import admit, opening
from app.services.authentication import Caller, authenticate, require
from app.services.idempotency import Stored

Body = Mapping[str, Any]

# Metadata at its bounds is 27 KB, before escapes. Webhooks have a limit of their own.
MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """The exact bytes that answer a request."""

    status: int
    body: bytes
    replayed: bool = False
    etag: str | None = None

    def response(self) -> Response:
        response = Response(self.body, self.status, content_type="application/json")
        if self.etag is not None:
            response.headers["ETag"] = self.etag
        if self.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response


def reading(scope: Scope) -> Callable[[Callable[..., Body]], Callable[..., Response]]:
    """Run `view(tx, caller, ...)` in one transaction of a caller with `scope` and answer 200 with what it returns."""

    def decorate(view: Callable[..., Body]) -> Callable[..., Response]:
        @wraps(view)
        def run(**arguments: Any) -> Response:
            key, edge = bearer_key(request.headers.get("Authorization")), gateway()
            take(edge, key, "read")

            def work(tx: Tx) -> Answer:
                caller = _let_in(tx, key, scope, edge)
                body = view(tx, caller, **arguments)
                return Answer(200, render(body), etag=etags.of(body))

            return edge.database.transact(actor(key.id), work).response()

        run.scope = scope  # type: ignore[attr-defined]
        return of_kind("reading", run)

    return decorate


def writing(scope: Scope) -> Callable[[Callable[..., tuple[Body, int]]], Callable[..., Response]]:
    """Run `view(tx, caller, ...)` once per Idempotency-Key, all in one transaction, and answer with (body, status).

    Authentication, the claim of the key, the view and its stored answer commit together or not at all, so a refusal
    leaves the key free; its token of the rate limit was spent before and stays so. After the commit idle workers are
    woken.
    """

    def decorate(view: Callable[..., tuple[Body, int]]) -> Callable[..., Response]:
        @wraps(view)
        def run(**arguments: Any) -> Response:
            key, edge = bearer_key(request.headers.get("Authorization")), gateway()
            take(edge, key, "write")
            idempotency_key = required_key(request.headers.get("Idempotency-Key"))
            print_ = fingerprint(request.method, request.path, json_body())

            def work(tx: Tx) -> Answer:
                caller, stored = admit(
                    tx,
                    key,
                    pepper=edge.settings.key_pepper,
                    idempotency_key=idempotency_key,
                    fingerprint=print_,
                )
                g.merchant_id = caller.merchant_id
                require(caller, scope)
                _refuse_other_mode(caller, edge.settings.livemode)
                if stored is not None:
                    return _replay(tx, caller, stored)
                body, status = view(tx, caller, **arguments)
                answer = Answer(status, render(body), etag=etags.of(body))
                idempotency.keep(tx, caller.merchant_id, idempotency_key, status=status, body=answer.body)
                return answer

            # One limit for both locks a request can meet: the key's and the payment's.
            limits = Timeouts(lock=max(1, round(edge.settings.timing.idempotency_lock * 1000)))
            asked = opening(key, address=client_address(), idempotency_key=idempotency_key, fingerprint=print_)
            answer = edge.database.transact(actor(key.id), work, timeouts=limits, opening=asked)
            edge.waker.wake()
            return answer.response()

        run.scope = scope  # type: ignore[attr-defined]
        return of_kind("writing", run)

    return decorate


def _let_in(tx: Tx, key: ApiKey, scope: Scope, edge: Gateway) -> Caller:
    """The caller, whose key is good now, from here and for this. Raises Unauthenticated, ScopeMissing."""
    caller = authenticate(tx, key, pepper=edge.settings.key_pepper, address=client_address())
    g.merchant_id = caller.merchant_id
    require(caller, scope)
    return caller


def _replay(tx: Tx, caller: Caller, stored: Stored) -> Answer:
    """What answered the same request before. Raises KeyReused when that was one in the other mode.

    The payment that it is about tells the mode, and not the fingerprint: what an earlier release stored stays known.
    """
    body = json.loads(stored.body)
    about = body["id"] if body["object"] == "payment" else body["payment"]
    try:
        payments.get(tx, caller, public_id.parse(public_id.PAYMENT, about))
    except NotFound:
        raise KeyReused() from None
    return Answer(stored.status, stored.body, replayed=True, etag=etags.of(body))


def _refuse_other_mode(caller: Caller, livemode: bool) -> None:
    """A test key must never charge a real account, nor a live key pretend to."""
    if caller.livemode != livemode:
        raise WrongMode()


def json_body() -> Any:
    """The body, strictly read; an absent one is an empty object. The schema reads the same bytes again."""
    raw = read_body(MAX_BYTES)
    if not raw:
        return {}
    if request.mimetype != "application/json" or request.headers.get("Content-Encoding", "identity") != "identity":
        raise WrongMediaType()
    return parse(raw)
