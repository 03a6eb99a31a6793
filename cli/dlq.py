"""`postbox dlq`: dead letters, looked at, replayed or discarded for a reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.progress import track

from app.db.pool import Row, Tx
from app.services import dead_letters
from cli.render import age, console_out, print_facts, print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session

# One command handles at most so many; run it again for more.
BATCH = 10_000

COLUMNS = {"letter": "Letter", "handler": "Handler", "dead_at": "Dead since", "dead_reason": "Because",
           "error_class": "Last error",
           "message": "Message", "payment_id": "Payment", "payment_state": "State"}  # fmt: skip
PLAN = {"letter": "Letter", "handler": "Handler", "payment_state": "Payment is", "provider_call": "Provider call",
        "asks_first": "Asks first", "key_age": "Key age", "effect": "A replay"}  # fmt: skip


@click.group()
def dlq() -> None:
    """Dead letters: deliveries that wait for a person."""


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose dead letters."""
    for option in (
        click.option("--since", type=click.DateTime(), help="Only those that died since (UTC)."),
        click.option("--reason-class", help="Only these: failures, crash, misuse, deferred, or an error class."),
        click.option("--merchant", type=click.UUID, help="Only this merchant's."),
        click.option("--handler", help="Only this handler's."),
    ):
        command = option(command)
    return command


@dlq.command("list")
@filter_options
@click.option("--handled", is_flag=True, help="Also those that were discarded.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, BATCH))
@json_option
@with_session
def list_(
    session: Session,
    handler: str | None,
    merchant: UUID | None,
    reason_class: str | None,
    since: datetime | None,
    handled: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List dead letters, oldest first."""
    wanted = dead_letters.Filter(None, handler, merchant, reason_class, _utc(since), handled)
    rows = session.read(lambda tx: dead_letters.find(tx, wanted, limit=limit))
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, COLUMNS, empty="no dead letters")


@dlq.command()
@click.argument("letter")
@json_option
@with_session
def show(session: Session, letter: str, as_json: bool) -> None:
    """Show one dead letter with every failure: when, what, where, and what a replay would do."""
    wanted = dead_letters.Filter(names=(letter,), handled=True)

    def read(tx: Tx) -> tuple[Row, list[Row], Row]:
        row = dead_letters.find(tx, wanted, limit=2)[0]
        return row, dead_letters.failures(tx, row), dead_letters.prospect(tx, row, session.settings.timing)

    row, failures, prospect = session.read(read)
    if as_json:
        print_json(row | {"history": failures, "replay": prospect})
        return
    print_facts({name: row[name] for name in row if name not in ("exponent", "error_class", "message")})
    for failure in failures:
        click.echo(f"\n{failure['failed_at']:%Y-%m-%d %H:%M:%S}  {failure['error_class']}: {failure['message']}")
        click.echo(failure["traceback"].rstrip())
    click.echo(f"\nA replay: {prospect['effect']}")


@dlq.command()
@click.argument("letters", nargs=-1)
@filter_options
@click.option("--all", "everything", is_flag=True, help="Every dead letter that the filters leave.")
@click.option("--dry-run", is_flag=True, help="Show what each replay would do and change nothing.")
@reason_option
@json_option
@with_session
def replay(
    session: Session,
    letters: tuple[str, ...],
    handler: str | None,
    merchant: UUID | None,
    reason_class: str | None,
    since: datetime | None,
    everything: bool,
    dry_run: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Run dead letters again: by LETTERS (as `dlq list` names them, or event_id:handler), or by filter.

    A replay is the same delivery of the same event, so its effect still happens at most once.
    """
    wanted = _chosen(letters, handler, merchant, reason_class, since, everything)
    found = session.read(lambda tx: dead_letters.find(tx, wanted, limit=BATCH))
    if dry_run:
        _show_plan(session, found, as_json)
        return
    _handle(session, found, dead_letters.replay, "replayed", reason, as_json)


@dlq.command()
@click.argument("letters", nargs=-1, required=True)
@reason_option
@json_option
@with_session
def discard(session: Session, letters: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Leave LETTERS dead for good: nothing more will be done about them."""
    wanted = dead_letters.Filter(names=letters)
    found = session.read(lambda tx: dead_letters.find(tx, wanted, limit=BATCH))
    _handle(session, found, dead_letters.discard, "discarded", reason, as_json)


def _chosen(
    letters: tuple[str, ...],
    handler: str | None,
    merchant: UUID | None,
    reason_class: str | None,
    since: datetime | None,
    everything: bool,
) -> dead_letters.Filter:
    filtered = any((handler, merchant, reason_class, since))
    if letters and (filtered or everything):
        raise click.UsageError("name letters or give a filter, not both")
    if not (letters or filtered or everything):
        raise click.UsageError("say which: LETTERS, a filter, or --all")
    return dead_letters.Filter(letters or None, handler, merchant, reason_class, _utc(since))


def _show_plan(session: Session, found: list[Row], as_json: bool) -> None:
    timing = session.settings.timing
    plan = [
        {"letter": row["letter"], "id": row["id"], "handler": row["handler"]}
        | session.read(lambda tx, row=row: dead_letters.prospect(tx, row, timing))  # type: ignore[misc]
        for row in found
    ]
    if as_json:
        print_json(plan)
    else:
        print_rows([row | {"key_age": age(row["key_age"])} for row in plan], PLAN, empty="no dead letters")


def _handle(
    session: Session, found: list[Row], verb: Callable[..., bool], done: str, reason: str, as_json: bool
) -> None:
    """One transaction per letter, so that one that is locked or gone holds up no other."""
    handled = []
    steps = track(found, description=done, console=Console(stderr=True), disable=as_json or len(found) < 2)
    for row in steps:
        changed = session.act(
            lambda tx, row=row: verb(tx, row, by=session.operator, reason=reason),  # type: ignore[misc]
            reason=reason,
        )
        handled.append({"letter": row["letter"], "id": row["id"], done: changed})
    if as_json:
        print_json(handled)
        return
    count = sum(bool(row[done]) for row in handled)
    console_out().print(f"{done} {count} of {len(found)}" if found else "no dead letters")


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None
