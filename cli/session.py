"""What a command has: settings, one connection and the operator's name; every transaction runs as postbox_operator."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from app.config import Settings, load_settings
from app.db.pool import Database, Timeouts, Tx
from app.model.actor import Actor, ActorType, Role

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# A person waits longer than an API client.
TIMEOUTS = Timeouts(statement=300_000, lock=5_000, idle=60_000)
# What reads everything there is: the largest invariant takes up to half a millisecond for each payment, which is eight
# minutes for a million. After a day somebody has forgotten it.
READS_EVERYTHING = Timeouts(statement=86_400_000, lock=5_000, idle=60_000)


@dataclass(frozen=True)
class Session:
    """One command's way to the database."""

    settings: Settings
    database: Database
    operator: str

    def read(self, work: Callable[[Tx], T], *, timeouts: Timeouts | None = None) -> T:
        """Run `work` in one transaction that means to change nothing."""
        return self.database.transact(self._actor(None), work, timeouts=timeouts)

    def act(self, work: Callable[[Tx], T], *, reason: str | None = None) -> T:
        """Run `work` in one transaction as the operator, for this reason."""
        return self.database.transact(self._actor(reason), work)

    def reconcile(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in one transaction as the reconciler, on behalf of the operator."""
        actor = Actor(ActorType.RECONCILER, "cli", Role.OPERATOR, on_behalf_of=self.operator)
        return self.database.transact(actor, work)

    def _actor(self, reason: str | None) -> Actor:
        return Actor(ActorType.OPERATOR, self.operator, Role.OPERATOR, reason=reason)


def login_name() -> str:
    """Who is at the keyboard, for the audit; `unknown` in a container without accounts."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def with_session(command: F) -> F:
    """Open a session for the command, passed as its first argument, and add `--operator`."""

    @click.option(
        "--operator", envvar="POSTBOX_OPERATOR", help="Your name in the audit; else POSTBOX_OPERATOR or login."
    )
    @functools.wraps(command)
    def opened(*args: Any, operator: str | None, **kwargs: Any) -> Any:
        settings = load_settings()
        url = settings.operator_url or settings.database_url
        with Database(url, size=1, application="postbox cli", timeouts=TIMEOUTS) as database:
            return command(Session(settings, database, operator or login_name()), *args, **kwargs)

    return opened  # type: ignore[return-value]


def json_option(command: F) -> F:
    """Add `--json`: stable machine-readable output instead of a table."""
    return click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")(command)


def reason_option(command: F) -> F:
    """Add the `--reason` that the audit keeps."""
    return click.option("--reason", required=True, callback=_not_blank, help="Why; it is kept in the audit.")(command)


def _not_blank(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("say why", ctx=ctx, param=param)
    return value.strip()
