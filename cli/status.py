"""`postbox status`: one look at what runs, waits, died and is unknown, with an exit code for monitors."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from app.services.status import overview
from cli.render import age, console_out, print_json, table_of, text
from cli.session import Session, json_option, with_session

# Exit code when a person is needed.
ATTENTION = 3

HANDLERS = {"handler": "Handler", "lane": "Lane", "runnable": "Runnable", "oldest_runnable_s": "Oldest",
            "waiting": "Waiting", "oldest_waiting_s": "Oldest ",
            "next_due_in_s": "Next due in", "dead": "Dead"}  # fmt: skip
PAYMENTS = {"state": "Payments", "payments": "Count", "oldest_s": "Oldest change"}
CIRCUITS = {"provider": "Circuit", "account": "Account", "state": "State", "failures": "Failures", "reason": "Reason"}
PAUSES = {"kind": "Paused", "name": "Name", "paused_by": "By", "paused_at": "Since", "reason": "Reason"}
DISCREPANCIES = {"severity": "Discrepancies", "open": "Open", "oldest_s": "Oldest", "overdue": "Past deadline",
                 "unacknowledged": "Not acknowledged"}  # fmt: skip
SWEEPS = {"name": "Sweep", "ago_s": "Ran ago", "last_found": "Found", "runs": "Runs"}


@click.command()
@click.option("--watch", is_flag=True, help="Show it live until Ctrl-C.")
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(0.2), help="Seconds between two looks.")
@json_option
@with_session
def status(session: Session, watch: bool, every: float, as_json: bool) -> None:
    """Show what runs, waits, died and is unknown.

    Exit code 0: all is well. 3: a person is needed, because a dead letter is open, a delivery could have run for
    more than 60 s, an outcome has been unknown for more than 15 min, a circuit is open, a dispute has a status that is
    not known here, or a discrepancy is critical, past its deadline or not acknowledged in time. 1: it cannot be told.
    """
    if watch and as_json:
        raise click.UsageError("--watch is for people, --json is not")
    found = session.read(overview)
    if as_json:
        print_json(found)
    elif watch:
        _watch(session, found, every)
    else:
        console_out().print(_page(found))
    if found["attention"]:
        raise click.exceptions.Exit(ATTENTION)


def _watch(session: Session, found: dict[str, Any], every: float) -> None:
    try:
        with Live(_page(found), console=console_out(), screen=False) as live:
            while True:
                time.sleep(every)
                live.update(_page(session.read(overview)))
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None


def _page(found: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [Text(line, style="bold red") for line in found["attention"]]
    parts = parts or [Text("all is well", style="green")]
    for rows, columns in (
        (found["handlers"], HANDLERS),
        (found["payments"], PAYMENTS),
        (found["discrepancies"], DISCREPANCIES),
        (found["circuits"], CIRCUITS),
        (found["pauses"], PAUSES),
        (found["sweeps"], SWEEPS),
    ):
        if rows:
            parts += [Text(""), table_of([_short(row) for row in rows], columns)]
    lately = found["lately"] or {}
    parts += [Text("")]
    parts += [
        Text(f"{name.removesuffix('_at').replace('_', ' ')}: {text(at) or 'never'}") for name, at in lately.items()
    ]
    return Group(*parts)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {name: age(value) if name.endswith("_s") else value for name, value in row.items()}
