"""The `postbox` command: one group, one module per noun, loaded when used; it opens no database itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click
import psycopg

from app.config import SettingsError
from app.db.errors import domain_error
from app.errors import ConstraintViolated, DatabaseDown, PostboxError, UnsafeDatabase

# name -> where its command lives; loaded lazily, so that one command never pays for another's imports.
COMMANDS = {
    "check": "cli.check:check",
    "dev": "cli.dev.command:dev",
    "discrepancies": "cli.discrepancies:discrepancies",
    "disputes": "cli.disputes:disputes",
    "dlq": "cli.dlq:dlq",
    "keys": "cli.keys:keys",
    "ledger": "cli.ledger:ledger",
    "merchant-payouts": "cli.merchant_payouts:merchant_payouts",
    "merchants": "cli.merchants:merchants",
    "migrate": "cli.migrate:migrate",
    "openapi": "cli.openapi:openapi",
    "operators": "cli.operators:operators",
    "pause": "cli.pauses:pause",
    "payments": "cli.payments:payments",
    "prices": "cli.prices:prices",
    "proposals": "cli.proposals:proposals",
    "reconcile": "cli.reconcile:reconcile",
    "refunds": "cli.refunds:refunds",
    "reserve": "cli.merchant_payouts:reserve",
    "resume": "cli.pauses:resume",
    "sandbox": "cli.sandbox.command:sandbox",
    "states": "cli.states:states",
    "status": "cli.status:status",
    "trace": "cli.trace:trace",
    "webhooks": "cli.webhooks:webhooks",
    "worker": "cli.worker:worker",
}

# No such role, table or schema, or a login that may not take the role: the database was not migrated for this login.
_NOT_MIGRATED = frozenset({"22023", "42501", "42P01", "3F000", "42883"})


class LazyGroup(click.Group):
    """Finds its commands by name and turns expected errors into one line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        _, command, rest = super().resolve_command(ctx, args)
        return (command.name if command else None), command, rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PostboxError as error:
            if isinstance(error, ConstraintViolated) and error.sqlstate is None:
                raise  # not the database's refusal but a mistake of ours: its traceback is wanted
            raise click.ClickException(one_line(error)) from error
        except SettingsError as error:
            raise click.ClickException(str(error)) from error
        except psycopg.Error as error:
            raise click.ClickException(one_line(domain_error(error))) from error


def one_line(error: PostboxError) -> str:
    """What went wrong and what to do about it; no text of the database."""
    if isinstance(error, ConstraintViolated):
        if error.sqlstate in _NOT_MIGRATED:
            return f"the database is not ready for this login ({error.sqlstate}): run `postbox migrate`"
        return f"the database refused it: {error.constraint or error.sqlstate}"
    if isinstance(error, DatabaseDown) and not isinstance(error, UnsafeDatabase):
        return "the database cannot be reached: check DATABASE_URL and that the server runs"
    return " ".join(error.detail.split())


@click.command(
    "postbox", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
def main() -> None:
    """Postbox: payments on Postgres and nothing else."""
    # the pool reports every failed attempt; the command reports it once
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; for `python -m cli.main`."""
    main.main(args=list(arguments) if arguments is not None else None, prog_name="postbox")


if __name__ == "__main__":
    run()
