"""`postbox pause` and `postbox resume`: stop a provider, a handler or a merchant, and let it go on."""

from __future__ import annotations

import click

from app.services import pauses
from cli.render import print_json
from cli.session import Session, json_option, reason_option, with_session


@click.command()
@click.argument("kind", type=click.Choice(pauses.KINDS))
@click.argument("name")
@reason_option
@json_option
@with_session
def pause(session: Session, kind: str, name: str, reason: str, as_json: bool) -> None:
    """Stop deliveries of a provider, a handler or a merchant (by id); they wait and count no failure."""
    row = session.act(lambda tx: pauses.pause(tx, kind, name, by=session.operator, reason=reason), reason=reason)
    if as_json:
        print_json(row)
    else:
        click.echo(f"paused {kind} {name}; postbox resume {kind} {name} lets it go on")


@click.command()
@click.argument("kind", type=click.Choice(pauses.KINDS))
@click.argument("name")
@reason_option
@json_option
@with_session
def resume(session: Session, kind: str, name: str, reason: str, as_json: bool) -> None:
    """Let a paused provider, handler or merchant go on at once."""
    row = session.act(lambda tx: pauses.resume(tx, kind, name, reason=reason), reason=reason)
    if as_json:
        print_json(row)
    else:
        click.echo(f"resumed {kind} {name}, {row['released']} waiting deliveries are due")
