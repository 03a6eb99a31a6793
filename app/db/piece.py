"""What is sent to the database in one piece, and answered in one round trip; a session prepares each statement once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import abc, generators
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.types.json import Jsonb

from app.db.queries import QUERIES
from app.model.actor import Actor

if TYPE_CHECKING:
    from app.db.inspection import InspectedConnection
    from app.db.pool import Timeouts

BEGIN, COMMIT, ROLLBACK = "transactions.begin_as", "transactions.commit", "transactions.rollback"
_PARAMETER = re.compile(r"%\((?P<name>\w+)\)s|%%")


class Statement(NamedTuple):
    """As the server takes it: with numbers for its parameters, whose names are these."""

    text: bytes
    parameters: tuple[str, ...]
    formats: tuple[PyFormat, ...]


def send(
    connection: InspectedConnection, *queries: str, params: Mapping[str, object], told: str = ""
) -> list[dict[str, Any]]:
    """Run named queries one after the other, and return the rows of the one that is `told`; the first that fails is the
    last that runs.

    By libpq itself: a cursor and the driver's own pipeline for each of them cost this process more than all of the rest
    does, and one text for all of them, with its parameters written into it, is parsed and planned anew each time.
    """
    transformer, bound = Transformer(connection), []
    for query in queries:
        for text, names, formats in _statements(query):
            values = transformer.dump_sequence([params[name] for name in names], formats)
            bound.append((query, (text, tuple(transformer.types or ())), values, transformer.formats))
    server, place, told_at = connection.pgconn, 0, -1
    try:
        server.enter_pipeline_mode()
        for query, kind, values, value_formats in bound:
            name = connection.prepared.get(kind)
            if name is None:
                name = connection.prepare_as(kind)
                server.send_prepare(name, *kind)
                place += 1
            server.send_query_prepared(name, values, value_formats)
            told_at = place if query == told else told_at
            place += 1
        server.pipeline_sync()
        results = connection.wait(_results(server, place + 1))
        server.exit_pipeline_mode()
    except BaseException:
        # nobody knows what it was in the middle of
        connection.close()
        raise
    # what was to be prepared behind one that failed is not there: `rollback` forgets all names
    _raise_first(results)
    return _rows(transformer, results[told_at]) if told else []


def _results(server: PGconn, expected: int) -> abc.PQGen[list[PGresult]]:
    """The first result of each that was sent, and of the end."""
    yield from generators.send(server)
    results: list[PGresult] = []
    try:
        for _ in range(expected):
            results += (yield from generators.fetch_many(server))[:1]
    except psycopg.OperationalError:
        # a server that ends a session says why before it hangs up
        _raise_first(results)
        raise
    return results


def _raise_first(results: list[PGresult]) -> None:
    """Raise the error that one of them is, if any."""
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result, encoding="utf-8")


def _rows(transformer: abc.Transformer, result: PGresult) -> list[dict[str, Any]]:
    transformer.set_pgresult(result)
    names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
    return [dict(zip(names, row, strict=True)) for row in transformer.load_rows(0, result.ntuples, tuple)]


@cache
def _statements(query: str) -> list[Statement]:
    return [_statement(text) for text in QUERIES[query].split(";\n")]


def _statement(text: str) -> Statement:
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found["name"] is None:
            return "%"
        if found["name"] not in names:
            names.append(found["name"])
        return f"${names.index(found['name']) + 1}"

    numbered = _PARAMETER.sub(number, text).encode()
    return Statement(numbered, tuple(names), (PyFormat.AUTO,) * len(names))


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
