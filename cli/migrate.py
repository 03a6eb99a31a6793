"""`postbox migrate`: brings the schema up to date, or says what is missing."""

from __future__ import annotations

import click
import psycopg
from psycopg.rows import tuple_row

from app.config import load_settings
from app.db.durability import refuse_unsafe
from app.db.migrate import login_of, pending
from app.db.migrate import migrate as apply_migrations
from app.db.network import bounded
from app.errors import DatabaseDown


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; list what is pending and exit 1 if anything is.")
def migrate(check: bool) -> None:
    """Apply sql/ to the database, in order and once.

    The database is POSTBOX_MIGRATION_URL, or DATABASE_URL; the login of DATABASE_URL gets the runtime roles, unless
    POSTBOX_LOGINS names a login for each.
    """
    settings = load_settings()
    try:
        if check:
            _say_pending(settings.migration_url)
            return
        refuse_unsafe(settings, settings.migration_url)
        applied = apply_migrations(
            settings.migration_url,
            runtime_login=None if settings.logins else login_of(settings.database_url),
            logins=settings.logins,
            report=click.echo,
        )
    except psycopg.OperationalError as error:
        raise DatabaseDown() from error
    click.echo(f"{len(applied)} applied" if applied else "up to date")


def _say_pending(url: str) -> None:
    with psycopg.connect(bounded(url), autocommit=True, row_factory=tuple_row) as connection:
        names = pending(connection)
    for name in names:
        click.echo(f"pending {name}")
    if names:
        raise click.exceptions.Exit(1)
    click.echo("up to date")
