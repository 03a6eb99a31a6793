"""Connections and the transaction every edge opens: role, actor, tenant, timeouts by SET LOCAL; rerun on conflict."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from app import errors
from app.db.errors import RERUN, domain_error
from app.db.inspection import InspectedConnection, Inspection
from app.db.network import bounded
from app.db.piece import BEGIN, COMMIT, ROLLBACK, actor_params, adapted, begin_params, joined, send
from app.db.queries import QUERIES
from app.db.sessions import OPTIONS, PREPARED_AT_ONCE, prepare_many
from app.model.actor import Actor, Role

T = TypeVar("T")
Row = dict[str, Any]

# What is rerun is rerun this often before the caller hears of it.
RERUNS = 5
# A pool without a free connection for this long means overload or a dead database; the edge answers 503.
POOL_WAIT_SECONDS = 5.0
# A connection that answered this short a time ago is not asked whether it still does: that is a round trip each time.
FRESH_SECONDS = 1.0


@dataclass(frozen=True)
class Timeouts:
    """Milliseconds, SET LOCAL on every transaction: no request may hold a connection or a lock for long.

    The clock of a statement starts before that of the lock it waits for: with as much time for the lock, nobody would
    ever hear of it.
    """

    statement: int = 5_000
    lock: int = 2_000
    idle: int = 10_000


@dataclass(frozen=True)
class Opening:
    """A named query in the round trip that begins a transaction, and what a lock means that it waited for in vain."""

    query: str
    params: Mapping[str, object]
    busy: type[errors.PostboxError] = errors.Busy


class Tx:
    """An open transaction: runs named queries, and nothing else. Services take one and never commit."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self.connection = connection
        self.opened: list[Row] = []
        self.last: list[str] = []
        self.last_params: dict[str, object] = {}

    def run(self, query: str, /, **params: object) -> int:
        """Run a named query for its effect; returns the number of rows touched."""
        return self.connection.execute(QUERIES[query], adapted(params)).rowcount

    def one(self, query: str, /, **params: object) -> Row | None:
        """The first row of a named query, or None."""
        return self.connection.execute(QUERIES[query], adapted(params)).fetchone()

    def all(self, query: str, /, **params: object) -> list[Row]:
        """Every row of a named query."""
        return self.connection.execute(QUERIES[query], adapted(params)).fetchall()

    def each(self, queries: Sequence[str], /, **params: object) -> list[list[Row]]:
        """Every row of each of these named queries, given the same parameters, in one round trip."""
        with self.connection.pipeline():
            asked = [self.connection.execute(QUERIES[query], adapted(params)) for query in queries]
        return [answer.fetchall() for answer in asked]

    def run_last(self, query: str, /, **params: object) -> None:
        """Run a named query in the round trip of the COMMIT, after everything else; nobody hears how it ended."""
        self.last.append(query)
        self.last_params = joined(self.last_params, params)

    def act_as(self, actor: Actor) -> None:
        """Change the actor for what follows; in a group every delivery has its own."""
        self.run("transactions.act_as", **actor_params(actor))


def _open(connection: InspectedConnection, about: Mapping[str, object], opening: Opening) -> list[Row]:
    try:
        return send(connection, BEGIN, opening.query, params=joined(about, opening.params), told=opening.query)
    except psycopg.errors.LockNotAvailable:
        raise opening.busy() from None


class Database:
    """A pool that opens lazily, so that it can be made before a fork and used after it."""

    def __init__(
        self,
        url: str,
        *,
        size: int = 8,
        application: str = "postbox",
        timeouts: Timeouts | None = None,
        options: str = "",
        others: Mapping[Role, Database] | None = None,
        unsafe_accepted: frozenset[str] | None = None,
        met_unsafe: Callable[[], None] = lambda: None,
    ) -> None:
        """`others`: the pools of roles that this login cannot become; they open and close with this one.

        `options`: settings of its sessions, as on a server's command line.
        `unsafe_accepted`: on a PostgreSQL that has any other of its unsafe settings nothing runs; None: all may be.
        `met_unsafe` hears of each time that this was refused, from any thread.
        """
        self.url = url
        self._others = dict(others or {})
        self.timeouts = timeouts or Timeouts()
        # when one was found broken: none that answered before is trusted any more
        self._broken_at = float("-inf")
        # when a table was found changed: what was prepared before is forgotten in every session
        self._changed_at = float("-inf")
        self._inspection = Inspection(unsafe_accepted, met_unsafe)
        self._pool: ConnectionPool[InspectedConnection] = ConnectionPool(
            bounded(url),
            min_size=1,
            max_size=size,
            open=False,
            timeout=POOL_WAIT_SECONDS,
            name=application,
            check=self._check,
            reconnect_timeout=60.0,
            connection_class=InspectedConnection,
            configure=prepare_many,
            kwargs={
                "row_factory": dict_row,
                "autocommit": True,
                "application_name": application,
                "prepare_threshold": PREPARED_AT_ONCE,
                "options": f"{OPTIONS} {options}",
            },
        )

    def open(self) -> Database:
        for database in (self, *self._others.values()):
            database._pool.open()
        return self

    def close(self) -> None:
        for database in (self, *self._others.values()):
            database._pool.close()

    def __enter__(self) -> Database:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Callers waiting for a connection now."""
        return int(self._pool.get_stats().get("requests_waiting", 0))

    @contextmanager
    def connection(self) -> Iterator[InspectedConnection]:
        """A raw autocommit connection; raises DatabaseDown when there is none, UnsafeDatabase when it may forget."""
        try:
            connection = self._pool.getconn()
        except (PoolTimeout, PoolClosed) as error:
            raise errors.DatabaseDown() from error
        # not the pool's own context, which commits once more what is committed
        try:
            self._inspection.refuse(connection, self._pool.drain)
            yield connection
            # noted here: with a `reset` callback of the pool every return would pass through a thread of its own
            connection.answered_at = time.monotonic()
        except psycopg.errors.FeatureNotSupported:
            # or else as many reruns as there are sessions would meet one that has prepared for the table as it was
            self._changed_at = time.monotonic()
            raise
        finally:
            self._pool.putconn(connection)

    @contextmanager
    def begin(
        self,
        actor: Actor,
        *,
        merchant_id: str | None = None,
        timeouts: Timeouts | None = None,
        opening: Opening | None = None,
    ) -> Iterator[Tx]:
        """One transaction, not rerun: for callers that own their retry (the local lane)."""
        about = begin_params(actor, merchant_id or "", timeouts or self.timeouts)
        opened, tx = self._of(actor)._open_one(about, opening)
        with opened:
            yield tx

    def _open_one(self, about: dict[str, object], opening: Opening | None) -> tuple[ExitStack, Tx]:
        """A transaction that has begun, and what ends it; on another connection when this one broke unseen."""
        for is_second in (False, True):
            with ExitStack() as opened:
                connection = opened.enter_context(self.connection())
                try:
                    tx = opened.enter_context(self._begin_on(connection, about, opening))
                    return opened.pop_all(), tx
                except psycopg.OperationalError:
                    if is_second or not connection.closed:
                        raise
                    self._broken_at = time.monotonic()
        raise AssertionError("unreachable: the second try either returns or raises")

    def _check(self, connection: InspectedConnection) -> None:
        if connection.unsafe:
            return  # nothing will run on it
        if connection.answered_at < max(time.monotonic() - FRESH_SECONDS, self._broken_at):
            ConnectionPool.check_connection(connection)
        if connection.forgot_at < self._changed_at:
            connection.forget()
        self._inspection.inspect(connection)

    def _of(self, actor: Actor) -> Database:
        return self._others.get(actor.role, self)

    @contextmanager
    def _begin_on(
        self, connection: InspectedConnection, about: dict[str, object], opening: Opening | None
    ) -> Iterator[Tx]:
        tx = Tx(connection)
        try:
            if opening is None:
                send(connection, BEGIN, params=about)
            else:
                tx.opened = _open(connection, about, opening)
            yield tx
            if tx.last:
                send(connection, *tx.last, COMMIT, params=tx.last_params)
            else:
                connection.commit()
        except BaseException:
            if connection.pgconn.transaction_status == TransactionStatus.INTRANS:
                # the database refused nothing: what was prepared is as good as before, and `rollback` would forget it
                connection.pgconn.exec_(QUERIES[ROLLBACK].encode())
            elif not connection.closed:
                connection.rollback()
            raise

    def statement(self, actor: Actor, query: str, /, **params: object) -> list[Row]:
        """Every row of one named query in a transaction of its own, all of it one round trip; rerun like `transact`.

        Nothing is awaited between its locks and its commit, so rows that many want are held for microseconds. A
        connection that broke unseen is replaced, so it may run twice: for what does no harm then.
        """
        pool, named = self._of(actor), joined(begin_params(actor, "", self.timeouts), params)
        return _rerun(lambda: pool._in_one_piece(query, named))

    def _in_one_piece(self, query: str, params: dict[str, object]) -> list[Row]:
        for is_second in (False, True):
            try:
                with self.connection() as connection:
                    try:
                        return send(connection, BEGIN, query, COMMIT, params=params, told=query)
                    except BaseException:
                        if not connection.closed:
                            connection.rollback()
                        raise
            except psycopg.Error:
                if is_second or not connection.closed:
                    raise
                self._broken_at = time.monotonic()
        raise AssertionError("unreachable: the second try either returns or raises")

    def transact(
        self,
        actor: Actor,
        work: Callable[[Tx], T],
        *,
        merchant_id: str | None = None,
        timeouts: Timeouts | None = None,
        opening: Opening | None = None,
    ) -> T:
        """Run `work(tx)` in one transaction and commit it, rerunning the whole where RERUN says so.

        `opening` goes with BEGIN, and work finds its rows in `tx.opened`. Raises domain errors only (app.db.errors);
        `work` must be free of effects outside the database.
        """

        def once() -> T:
            with self.begin(actor, merchant_id=merchant_id, timeouts=timeouts, opening=opening) as tx:
                return work(tx)

        return _rerun(once)


def _rerun(once: Callable[[], T]) -> T:
    """What `once` returns, run again where RERUN says so. Raises domain errors only."""
    for attempt in range(RERUNS + 1):
        try:
            return once()
        except psycopg.Error as error:
            if error.sqlstate in RERUN and attempt < RERUNS:
                time.sleep(random.uniform(0, 0.01 * 2**attempt))
                continue
            raise domain_error(error) from error
    raise AssertionError("unreachable: the last attempt either returns or raises")
