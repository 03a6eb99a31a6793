"""`postbox webhooks`: what providers told us and what became of it; an event may be handled again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from app.db.pool import Row, Tx
from app.errors import Invalid, NotFound
from app.services import operator_pages
from app.services import webhooks as service
from cli.identity import as_uuid
from cli.render import print_facts, print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session

COLUMNS = {"id": "Webhook", "received_at": "Received (UTC)", "type": "Type", "provider_event_id": "Event",
           "object_id": "About", "payment_id": "Payment", "status": "Status"}  # fmt: skip
PLAN = {"id": "Webhook", "type": "Type", "status": "Status", "effect": "A replay"}


@click.group()
def webhooks() -> None:
    """Provider events as they were stored, and what became of them."""


@webhooks.command("list")
@click.option("--type", "kind", help="Only of this type, like payment_intent.succeeded.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@with_session
def list_(session: Session, kind: str | None, limit: int, as_json: bool) -> None:
    """List stored provider events, newest first."""
    rows = session.read(
        lambda tx: operator_pages.webhooks(tx, type=kind, provider_event_id=None, before=None, limit=limit)
    )
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, COLUMNS, empty="no webhooks")


@webhooks.command()
@click.argument("webhook")
@json_option
@with_session
def show(session: Session, webhook: str, as_json: bool) -> None:
    """Show one provider event: WEBHOOK is its id here or at the provider (evt_...)."""
    row = session.read(lambda tx: _planned(tx, webhook))
    if as_json:
        print_json(row)
        return
    print_facts({name: value for name, value in row.items() if name != "effect"})
    click.echo(f"\nA replay: {row['effect']}")


@webhooks.command()
@click.argument("names", metavar="WEBHOOK...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Show what each replay would do and change nothing.")
@reason_option
@json_option
@with_session
def replay(session: Session, names: tuple[str, ...], dry_run: bool, reason: str, as_json: bool) -> None:
    """Have provider events handled again: the object is fetched anew, and what it says is applied, once."""
    found = session.read(lambda tx: [_planned(tx, name) for name in names])
    if dry_run:
        if as_json:
            print_json(found)
        else:
            print_rows(found, PLAN, empty="no webhooks")
        return
    for row in found:
        session.act(
            lambda tx, row=row: service.replay(tx, row, by=session.operator, reason=reason),  # type: ignore[misc]
            reason=reason,
        )
    done: list[dict[str, Any]] = [{"id": row["id"], "replayed": True} for row in found]
    if as_json:
        print_json(done)
    else:
        click.echo(f"replayed {len(done)} of {len(found)}")


def _planned(tx: Tx, name: str) -> Row:
    """The event by either id, and what a replay would do. Raises NotFound, Invalid."""
    row = _named(tx, name, as_uuid(name))
    return row | {"effect": service.prospect(row)}


def _named(tx: Tx, name: str, webhook_id: UUID | None) -> Row:
    if webhook_id is not None:
        return operator_pages.webhook(tx, webhook_id)
    rows = operator_pages.webhooks(tx, type=None, provider_event_id=name, before=None, limit=2)
    if not rows:
        raise NotFound(f"there is no webhook {name}")
    if len(rows) > 1:
        raise Invalid(f"{name} names events of two accounts: use the id of the webhook")
    return rows[0]
