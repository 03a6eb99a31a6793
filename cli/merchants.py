"""`postbox merchants`: who we process for."""

from __future__ import annotations

import click

from app.services import merchants as service
from cli.render import print_facts, print_json, print_rows
from cli.session import Session, json_option, with_session


@click.group()
def merchants() -> None:
    """Create and list merchants."""


@merchants.command()
@click.argument("name")
@json_option
@with_session
def create(session: Session, name: str, as_json: bool) -> None:
    """Create a merchant called NAME."""
    merchant = session.act(lambda tx: service.create(tx, name))
    if as_json:
        print_json(merchant)
    else:
        print_facts(merchant)


@merchants.command("list")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@json_option
@with_session
def list_(session: Session, limit: int, as_json: bool) -> None:
    """List merchants, newest first."""
    rows = session.read(lambda tx: service.newest(tx, limit=limit))
    if as_json:
        print_json(rows)
    else:
        columns = {"id": "Merchant", "name": "Name", "active": "Active", "usable_keys": "Keys", "created_at": "Created"}
        print_rows(rows, columns, empty="no merchants yet: postbox merchants create NAME")
