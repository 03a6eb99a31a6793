"""Refuses to work on a PostgreSQL that may forget what it has acknowledged; knows nothing of roles or schemas."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import scalar_row

from app.config import UNSAFE_ACCEPTED, Settings
from app.db.network import bounded
from app.db.queries import QUERIES
from app.errors import UnsafeDatabase


def refuse_unsafe(settings: Settings, url: str | None = None) -> None:
    """Raises UnsafeDatabase unless commits of `url` (else the process's own) survive a crash, or that was waived.

    A database that is away has shown nothing: it returns, and every connection of the pool asks again.
    """
    try:
        with psycopg.connect(bounded(url or settings.database_url), autocommit=True) as connection:
            names = unsafe_settings(connection)
    except psycopg.OperationalError:
        return
    if not settings.unsafe_postgres.issuperset(names):
        raise UnsafeDatabase(told(names))


def unsafe_settings(connection: psycopg.Connection[Any]) -> list[str]:
    """Names of the settings with which the server of this connection could lose what it commits here."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        return [str(name) for name in cursor.execute(QUERIES["health.unsafe_settings"].encode())]


def told(names: list[str]) -> str:
    """One line that names the settings and both ways out."""
    return (
        f"PostgreSQL runs with {' and '.join(f'{name} = off' for name in names)}: a crash would lose acknowledged "
        f"payments; turn it on, or say twice that you want it: POSTBOX_UNSAFE_POSTGRES={UNSAFE_ACCEPTED} "
        f"POSTBOX_UNSAFE_SETTINGS={','.join(names)}"
    )
