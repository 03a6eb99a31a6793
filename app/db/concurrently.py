"""Indexes that are built and dropped outside a transaction, beside the traffic; and what was cut short of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from app.db.queries import QUERIES
from app.db.scripts import Connection, MigrationError, Script

# An index that is built or dropped concurrently waits for every older snapshot, a dump's too. Its lock is SHARE UPDATE
# EXCLUSIVE, so no reader or writer queues behind it, and it may wait as long as a dump takes.
LOCK_TIMEOUT_MS = 6 * 3_600_000
# An autovacuum gives way to who waits for its table, after deadlock_timeout, which is a second by default. Who has not
# given way after ten of them is somebody at work, or an autovacuum against wraparound, which nobody may hurry.
YIELD_TIMEOUT_MS = 10_000


def build(connection: Connection, script: Script) -> None:
    """Run a script that is one statement about an index, and record it when the index is valid, or gone."""
    assert not script.as_login, f"{script.name} is about an index, and those are the owner's"
    with _as_owner(connection, script.search_path):
        # what a try before, or a run that was stopped, left of the index: `if not exists` would take it for done
        if _is_broken(connection, script.index):
            connection.execute(sql.SQL("drop index concurrently {}").format(sql.Identifier(script.index)))
        connection.execute(script.text.encode())
        assert not _is_broken(connection, script.index), f"{script.name} leaves an index that is valid, or none"
        connection.execute(_query("record"), {"name": script.name, "sha256": script.sha256})


def mend(connection: Connection, report: Callable[[str], None]) -> None:
    """Build again every index of ours that is not valid, unless somebody is at work on its table and stays there.

    What a reindexing that was cut short left beside one is dropped. Raises MigrationError when one cannot be built.
    """
    with _as_owner(connection, "postbox"):
        for schema, name, table, is_left_over in connection.execute(_query("invalid_indexes")).fetchall():
            if not _is_broken(connection, f"{schema}.{name}"):
                # mended or gone while those before it were built
                continue
            if _is_in_hand(connection, sql.Identifier(str(schema), str(table))):
                report(f"{schema}.{name} is not valid: left to who is at work on its table")
                continue
            if not _is_broken(connection, f"{schema}.{name}"):
                # mended by who was at work there
                continue
            report(f"{schema}.{name} is not valid: {'dropped' if is_left_over else 'built again'}")
            how = "drop index concurrently if exists {}" if is_left_over else "reindex index concurrently {}"
            try:
                connection.execute(sql.SQL(how).format(sql.Identifier(str(schema), str(name))))
            except psycopg.Error as error:
                if not connection.closed and not _is_broken(connection, f"{schema}.{name}"):
                    continue
                # without the detail, which may hold what is in a row
                why = error.diag.message_primary or type(error).__name__
                raise MigrationError(
                    f"the index {schema}.{name} is not valid, finds nothing, and cannot be built again ({why});"
                    f" `reindex index concurrently {schema}.{name}` says more: mend that, and migrate again"
                ) from error


@contextmanager
def _as_owner(connection: Connection, search_path: str) -> Iterator[None]:
    """As postbox_owner and with the patience of an index, in no transaction."""
    connection.execute(sql.SQL("set lock_timeout = {}").format(sql.Literal(f"{LOCK_TIMEOUT_MS}ms")))
    connection.execute("set role postbox_owner")
    connection.execute(sql.SQL("set search_path = {}").format(sql.SQL(search_path)))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("reset role")
            connection.execute("reset search_path")
            connection.execute("reset lock_timeout")


def _is_in_hand(connection: Connection, table: sql.Identifier) -> bool:
    """Whether somebody keeps the lock that building, rebuilding and dropping an index take, or that stops them."""
    try:
        with connection.transaction():
            connection.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(f"{YIELD_TIMEOUT_MS}ms")))
            connection.execute(sql.SQL("lock table {} in share update exclusive mode").format(table))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        # who builds waits for all that began before, and so for us maybe
        return True
    return False


def _is_broken(connection: Connection, index: str) -> bool:
    return connection.execute(_query("invalid_index"), {"index": index}).fetchone() is not None


def _query(name: str) -> bytes:
    return QUERIES[f"schema_migrations.{name}"].encode()
