"""Brings a database to the schema in sql/: migrations once, repeatable files when they changed, then assertions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from app.db import concurrently
from app.db.network import bounded
from app.db.queries import QUERIES
from app.db.scripts import Connection, MigrationError, Script, grants, migrations, repeatables

# One migrator at a time, whoever starts it; the number is arbitrary and belongs to Postbox.
ADVISORY_LOCK = 0x706F7374
# Between two looks at whether another migrator has finished.
TURN_SECONDS = 0.1
# A migration waits this long for a lock, then steps back and tries again: it never blocks the traffic behind it.
LOCK_TIMEOUT_MS = 2_000
LOCK_TRIES = 30
# A migration may make or replace tables: these are applied after it.
AFTER_MIGRATIONS = ("statistics.sql", "policies.sql", "grants.sql")
_RUNTIME_ROLES = ("postbox_api", "postbox_worker", "postbox_operator", "postbox_compliance")


def pending(connection: Connection) -> list[str]:
    """Names of files that this database has not seen in their present form; empty means ready."""
    known = _recorded(connection)
    return [script.name for script in [*migrations(), *repeatables()] if known.get(script.name) != script.sha256]


def migrate(
    url: str,
    *,
    runtime_login: str | None = None,
    logins: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Apply what is missing to the database at `url`; returns the names applied, in order.

    `runtime_login` is granted SET (and nothing inherited) on the four runtime roles; each of `logins` (role: login) on
    its own and no other. Raises MigrationError when an applied migration was edited, when a lock cannot be had, when an
    index is not valid and cannot be built again, when a guard trigger is not ENABLE ALWAYS, when a tenant table has no
    row level security, or when a login of one role may become anything else.
    """
    with psycopg.connect(
        bounded(url, application_name="postbox migrate"), autocommit=True, row_factory=tuple_row
    ) as connection:
        connection.execute("set client_min_messages = warning")
        _take_turn(connection)
        try:
            applied = list(_apply_all(connection, report))
            concurrently.mend(connection, report)
            connection.execute(_query("close_database"))
            if runtime_login:
                _grant_roles(connection, runtime_login)
            for role, login in (logins or {}).items():
                _grant_one(connection, f"postbox_{role}", login)
            _enter_epoch(connection)
            with _owner(connection):
                _assert_always(connection)
                _assert_walled(connection)
        finally:
            connection.execute("select pg_advisory_unlock(%s)", [ADVISORY_LOCK])
    return applied


def _take_turn(connection: Connection) -> None:
    """Wait for another migrator, but in no statement: an index that is built concurrently waits for every open one."""
    while connection.execute("select pg_try_advisory_lock(%s)", [ADVISORY_LOCK]).fetchone() != (True,):
        time.sleep(TURN_SECONDS)


def _apply_all(connection: Connection, report: Callable[[str], None]) -> Iterator[str]:
    known = _recorded_as_owner(connection)
    scripts = migrations()
    edited = [script.name for script in scripts if known.get(script.name, script.sha256) != script.sha256]
    if edited:
        raise MigrationError(f"already applied and since edited: {', '.join(edited)}; migrations only go forward")
    future = [name for name in known if name.startswith("migrations/") and name not in {s.name for s in scripts}]
    if future:
        raise MigrationError(f"the database is ahead of this release: {', '.join(sorted(future))}")
    due = [script for script in scripts if script.name not in known]
    # an index has no grants, and while it is built, which may take hours, who serves stays ready
    forgets = bool(known) and any(script.in_transaction for script in due)
    changed = [s for s in repeatables() if known.get(s.name) != s.sha256 or (forgets and s.name in AFTER_MIGRATIONS)]
    if changed and not any(script.name == "grants.sql" for script in changed):
        # a new function or view has no grants yet
        changed.append(grants())
    for script in [*due, *changed]:
        if forgets and script.in_transaction:
            with _owner(connection):
                connection.execute(_query("forget"), {"names": list(AFTER_MIGRATIONS)})
            forgets = False
        report(script.name)
        _apply(connection, script)
        yield script.name


def _apply(connection: Connection, script: Script) -> None:
    for attempt in range(1, LOCK_TRIES + 1):
        try:
            if script.in_transaction:
                with connection.transaction():
                    _run(connection, script)
            else:
                concurrently.build(connection, script)
            return
        except psycopg.errors.LockNotAvailable as error:
            if attempt == LOCK_TRIES:
                raise MigrationError(
                    f"{script.name}: no lock after {LOCK_TRIES} tries; is a long transaction open?"
                ) from error
            time.sleep(min(2.0, 0.1 * attempt))
        except psycopg.Error as error:
            raise MigrationError(f"{script.name}: {error}") from error


def _run(connection: Connection, script: Script) -> None:
    connection.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(f"{LOCK_TIMEOUT_MS}ms")))
    if not script.as_login:
        connection.execute("set local role postbox_owner")
        connection.execute(sql.SQL("set local search_path = {}").format(sql.SQL(script.search_path)))
    connection.execute(script.text.encode())
    if script.as_login:
        connection.execute("set local role postbox_owner")
    connection.execute(_query("record"), {"name": script.name, "sha256": script.sha256})


def _recorded(connection: Connection) -> dict[str, str]:
    found = connection.execute(_query("exists")).fetchone()
    if found is None or not found[0]:
        return {}
    return {str(name): str(sha256) for name, sha256 in connection.execute(_query("recorded"))}


def _recorded_as_owner(connection: Connection) -> dict[str, str]:
    """What is recorded, read by a migration login that inherits nothing of the owner's."""
    found = connection.execute(_query("exists")).fetchone()
    if found is None or not found[0]:
        return {}
    with _owner(connection):
        return _recorded(connection)


@contextmanager
def _owner(connection: Connection) -> Iterator[None]:
    """A transaction as postbox_owner."""
    with connection.transaction():
        connection.execute("set local role postbox_owner")
        connection.execute("set local search_path = postbox")
        yield


def _query(name: str) -> bytes:
    return QUERIES[f"schema_migrations.{name}"].encode()


def _grant_roles(connection: Connection, login: str) -> None:
    for role in _RUNTIME_ROLES:
        connection.execute(
            sql.SQL("grant {} to {} with inherit false, set true").format(sql.Identifier(role), sql.Identifier(login))
        )


def _grant_one(connection: Connection, role: str, login: str) -> None:
    """Let a login become this role, and take every other of ours from it. Raises MigrationError if more is left."""
    try:
        for other in (*_RUNTIME_ROLES, "postbox_owner"):
            if other != role:
                connection.execute(sql.SQL("revoke {} from {}").format(sql.Identifier(other), sql.Identifier(login)))
        connection.execute(
            sql.SQL("grant {} to {} with inherit false, set true").format(sql.Identifier(role), sql.Identifier(login))
        )
    except psycopg.errors.UndefinedObject as error:
        raise MigrationError(f"POSTBOX_LOGINS names {login}, and there is no such login: create it first") from error
    found = {str(name) for (name,) in connection.execute(_query("what_a_login_may_be"), {"login": login})}
    if found != {role}:
        raise MigrationError(f"{login} may be more than {role}: {', '.join(sorted(found - {role}))}")


def _enter_epoch(connection: Connection) -> None:
    """A restored dump lives in another cluster, where transaction ids begin anew: it is a new epoch."""
    with _owner(connection):
        connection.execute(_query("enter_epoch"))
        row = connection.execute(_query("epoch")).fetchone()
        assert row is not None, "the epoch of this cluster was just inserted"
        connection.execute(
            sql.SQL(
                "create or replace function current_epoch() returns integer language sql immutable parallel safe as {}"
            ).format(sql.Literal(f"select {row[0]}"))
        )


def _assert_always(connection: Connection) -> None:
    weak = connection.execute(_query("triggers_not_always")).fetchall()
    if weak:
        raise MigrationError(f"not ENABLE ALWAYS: {', '.join(str(row[0]) for row in weak)}")
    if connection.execute(_query("notifying_triggers")).fetchall():
        raise MigrationError(
            "Procrastinate's insert trigger is enabled: it would serialise every commit of the cluster"
        )


def _assert_walled(connection: Connection) -> None:
    open_tables = connection.execute(_query("tenant_tables_without_wall")).fetchall()
    if open_tables:
        names = ", ".join(str(row[0]) for row in open_tables)
        raise MigrationError(f"no row level security for postbox_api: {names}; sql/policies.sql needs a line for each")


def login_of(url: str) -> str:
    """The user name in a database URL. Raises MigrationError when there is none."""
    user = conninfo_to_dict(url).get("user")
    if not user:
        raise MigrationError("DATABASE_URL names no user")
    return str(user)
