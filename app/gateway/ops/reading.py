"""How a signed-in person looks at something: one transaction, one right, and a note of what was shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from flask import Response, g, request

from app.config import PLATFORM_MERCHANT_ID
from app.db import Tx
from app.db.pool import Row
from app.errors import PostboxError
from app.gateway.context import client_address, gateway, operator
from app.gateway.contract import of_kind
from app.gateway.errors import instance
from app.gateway.limits import take_of_operator
from app.gateway.ops.door import operator_key, refuse_without, session_token, who_is_in
from app.gateway.representation import render
from app.gateway.transaction import Answer
from app.model.operator_role import Right
from app.services import access
from app.services.sign_in import Person, token_hmac

# Of what was asked for, the longest we have is a merchant's reference.
ENTITY_LENGTH = 255


@dataclass(frozen=True)
class Shown:
    """An answer, and the rows it was made of: their `merchant_id` says whose data was seen."""

    body: Mapping[str, Any]
    rows: Sequence[Row] = ()


def looking(right: Right) -> Callable[[Callable[..., Shown]], Callable[..., Response]]:
    """Run `view(tx, person, ...)` for a person with `right` and answer 200 with what it shows, once that is noted.

    What is refused is noted as well, with no rows.
    """

    def decorate(view: Callable[..., Shown]) -> Callable[..., Response]:
        @wraps(view)
        def run(**arguments: Any) -> Response:
            edge, token = gateway(), session_token()
            take_of_operator(edge, token_hmac(token, operator_key(edge)), "read")

            def work(tx: Tx) -> Answer | PostboxError:
                person = who_is_in(tx, token, edge)
                try:
                    refuse_without(person, right)
                    shown = view(tx, person, **arguments)
                except PostboxError as refused:
                    note(tx, person, refused.code, {})
                    return refused
                note(tx, person, "ok", Counter(row.get("merchant_id") or PLATFORM_MERCHANT_ID for row in shown.rows))
                return Answer(200, render(shown.body))

            answer = edge.database.transact(operator("session"), work)
            if isinstance(answer, PostboxError):
                raise answer
            return answer.response()

        run.right = right  # type: ignore[attr-defined]
        return of_kind("looking", run)

    return decorate


def note(tx: Tx, person: Person, result: str, seen: Mapping[Any, int]) -> None:
    """Note in the access log what this request asked for, how it ended, and how many rows of whom it was shown."""
    asked = [*(request.view_args or {}).values(), *(f"{name}={value}" for name, value in request.args.items())]
    access.note(
        tx,
        person,
        route=instance(),
        entity=" ".join(str(part) for part in asked)[:ENTITY_LENGTH].replace("\0", "") or None,
        result=result,
        seen=seen,
        address=client_address(),
        request_id=g.request_id,
    )
