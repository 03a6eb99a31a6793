"""What is sent to the database in one piece, and so answered in one round trip, with its parameters bound here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from app.db.queries import QUERIES
from app.model.actor import Actor

if TYPE_CHECKING:
    from app.db.pool import Timeouts

BEGIN, COMMIT, ROLLBACK = "transactions.begin_as", "transactions.commit", "transactions.rollback"
# BEGIN is one result, and who acts another; what is sent along with them comes after.
AFTER_BEGIN = 2


def send(
    connection: psycopg.Connection[dict[str, Any]], *queries: str, params: Mapping[str, object]
) -> psycopg.ClientCursor[dict[str, Any]]:
    """Run named queries one after the other; the first that fails is the last that runs.

    Two statements in a pipeline cost this process more than parsing them costs the server. What takes long to plan is a
    function's.
    """
    return psycopg.ClientCursor(connection).execute(_in_one_text(*queries), params)


@cache
def _in_one_text(*queries: str) -> str:
    return ";".join(QUERIES[query] for query in queries)


def joined(params: Mapping[str, object], more: Mapping[str, object]) -> dict[str, object]:
    """The parameters of queries that are sent together."""
    assert not params.keys() & more.keys(), "each query's parameters have names of their own"
    return {**params, **adapted(more)}


def adapted(params: Mapping[str, object]) -> dict[str, object]:
    return {name: Jsonb(value) if isinstance(value, dict) else value for name, value in params.items()}


def actor_params(actor: Actor) -> dict[str, object]:
    return {
        "actor_type": actor.type.value,
        "actor_id": actor.id,
        "on_behalf_of": actor.on_behalf_of or "",
        "reason": actor.reason or "",
        "request_id": actor.request_id or "",
        "correlation_id": actor.correlation_id or "",
        "causation_id": actor.causation_id or "",
    }


def begin_params(actor: Actor, merchant_id: str, limits: Timeouts) -> dict[str, object]:
    return {
        "role": actor.role.value,
        "merchant_id": merchant_id,
        "statement_timeout": f"{limits.statement}ms",
        "lock_timeout": f"{limits.lock}ms",
        "idle_timeout": f"{limits.idle}ms",
        **actor_params(actor),
    }
