"""`postbox states`: the state machine as the database enforces it, drawn in Mermaid."""

from __future__ import annotations

import click

from app.db.pool import Row
from cli.render import print_json
from cli.session import Session, json_option, with_session


@click.command()
@json_option
@with_session
def states(session: Session, as_json: bool) -> None:
    """Draw the payment states and their edges from the table that enforces them (Mermaid)."""
    edges = session.read(lambda tx: tx.all("transitions.all"))
    known = session.read(lambda tx: tx.all("transitions.states"))
    if as_json:
        print_json({"states": known, "edges": edges})
    else:
        click.echo(draw(known, edges))


def draw(known: list[Row], edges: list[Row]) -> str:
    """A stateDiagram-v2 with every edge, labelled by its event; hard terminal states end."""
    lines = ["stateDiagram-v2", "    direction LR", "    [*] --> initiated: payment.initiated"]
    lines += [f"    {edge['from_state']} --> {edge['to_state']}: {edge['event']}" for edge in edges]
    lines += [f"    {state['state']} --> [*]" for state in known if state["terminal"] == "hard"]
    return "\n".join(lines)
