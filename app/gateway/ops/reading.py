"""How a signed-in person looks at something: one transaction, one right, and a note of what was shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import structlog
from apiflask import HTTPError
from flask import Response, g, request

from app.config import PLATFORM_MERCHANT_ID
from app.db import Tx
from app.db.pool import Row
from app.errors import DatabaseDown, Invalid, NotSignedIn, PostboxError
from app.gateway.card_numbers import holds_card_number
from app.gateway.context import Gateway, client_address, gateway, operator
from app.gateway.contract import of_kind
from app.gateway.errors import code_of, instance
from app.gateway.limits import take_of_operator
from app.gateway.ops.door import operator_key, refuse_without, session_token, who_is_in
from app.gateway.representation import render
from app.gateway.transaction import Answer
from app.model.operator_role import Right
from app.services import access, sign_in
from app.services.sign_in import Person, token_hmac

log = structlog.get_logger()

# Of what was asked for, the longest we have is a merchant's reference.
ENTITY_LENGTH = 255
# Stands in the log where a card number was asked for: a row of it can never be taken out again.
CARD_NUMBER = "(card number)"


@dataclass(frozen=True)
class Shown:
    """An answer, and the rows it was made of: their `merchant_id` says whose data was seen."""

    body: Mapping[str, Any]
    rows: Sequence[Row] = ()


def looking(right: Right) -> Callable[[Callable[..., Shown]], Callable[..., Response]]:
    """Run `view(tx, person, ...)` for a person with `right` and answer 200 with what it shows, once that is noted.

    What is refused, by us or by their rate limit, or fails is noted as well, with no rows.
    """

    def decorate(view: Callable[..., Shown]) -> Callable[..., Response]:
        known = members_of_query(view)

        @wraps(view)
        def run(**arguments: Any) -> Response:
            edge, token = gateway(), session_token()
            hmac = token_hmac(token, operator_key(edge))

            def work(tx: Tx) -> Answer | PostboxError | HTTPError:
                person = who_is_in(tx, token, edge)
                try:
                    refuse_without(person, right)
                    shown = view(tx, person, **arguments)
                except PostboxError as refused:
                    note(tx, person, refused.code, {}, known)
                    return refused
                except HTTPError as malformed:  # the shape of the query; nothing else is refused by the framework here
                    note(tx, person, Invalid.code, {}, known)
                    return malformed
                seen = Counter(row.get("merchant_id") or PLATFORM_MERCHANT_ID for row in shown.rows)
                note(tx, person, "ok", seen, known)
                sign_in.prolong(tx, hmac, edge.settings.timing)
                return Answer(200, render(shown.body))

            with noting_failures(edge, token, known):
                take_of_operator(edge, hmac, "read")
                answer = edge.database.transact(operator("session"), work)
            if isinstance(answer, Exception):
                raise answer
            return answer.response()

        run.right = right  # type: ignore[attr-defined]
        return of_kind("looking", run)

    return decorate


def members_of_query(view: Callable[..., Any]) -> frozenset[str]:
    """The members of the query that a view's schema names."""
    inputs = view.__dict__.get("_spec", {}).get("args") or ()  # where APIFlask keeps what it documents
    return frozenset(name for schema, location in inputs if location == "query" for name in schema.fields)


@contextmanager
def noting_failures(edge: Gateway, token: str, known: frozenset[str] = frozenset()) -> Iterator[None]:
    """What keeps a person who is signed in from an answer is noted in a transaction of its own, with no rows.

    They hear the same, noted or not: nothing was shown. A database that is away is asked for no note.
    """
    try:
        yield
    except (NotSignedIn, DatabaseDown):
        raise
    except Exception as failure:
        _note_alone(edge, token, code_of(failure), known)
        raise


def _note_alone(edge: Gateway, token: str, result: str, known: frozenset[str]) -> None:
    try:
        edge.database.transact(operator("session"), lambda tx: note(tx, who_is_in(tx, token, edge), result, {}, known))
    except NotSignedIn:
        pass  # it was nobody, or is not any more
    except Exception as error:  # whatever it is, they were refused and hear that
        log.error(
            "a look that was not answered could not be noted",
            why=code_of(error),
            error=type(error).__name__,
            result=result,
            route=instance(),
            request_id=g.request_id,
            trace_id=g.trace.id,
        )


def note(tx: Tx, person: Person, result: str, seen: Mapping[Any, int], known: frozenset[str] = frozenset()) -> None:
    """Note in the access log what this request asked for, how it ended, and how many rows of whom it was shown.

    Of the query, only the members in `known` are noted, by name alone when they are invalid; and nowhere a card number.
    """
    given = [(name, value) for name, value in request.args.items() if name in known]
    members = [name if result == Invalid.code else f"{name}={harmless(value)}" for name, value in given]
    asked = [*(harmless(str(part)) for part in (request.view_args or {}).values()), *members]
    access.note(
        tx,
        person,
        route=instance(),
        entity=harmless(" ".join(asked)[:ENTITY_LENGTH]) or None,  # cut, a longer number could be a card's
        result=result,
        seen=seen,
        address=client_address(),
        request_id=g.request_id,
    )


def harmless(text: str) -> str:
    """The text as the log may keep it; a NUL is left out, for PostgreSQL has none."""
    kept = text.replace("\0", "")
    return CARD_NUMBER if holds_card_number(kept) else kept
