"""`postbox check`: the global invariants over what the database holds now."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

import click

from app.services import checks
from cli.identity import PAYMENT_ID
from cli.render import print_json, print_rows
from cli.session import READS_EVERYTHING, Session, json_option, with_session


@click.command()
@click.option("--quiesced", is_flag=True, help="The system is idle: allow no grace, no pending work, no dead letter.")
@click.option("--payment", type=PAYMENT_ID, help="Only what concerns this payment.")
@json_option
@with_session
def check(session: Session, quiesced: bool, payment: UUID | None, as_json: bool) -> None:
    """Check every global invariant; exit 1 and show the rows that break one.

    An open provider call is no violation once its operation was called again or has its outcome: it is then the
    evidence of a crash that was dealt with. Neither is an open question (a GET outside an operation): it moves
    nothing, and what it was asked for is watched as a delivery.

    It reads everything there is: a minute or two for each 100,000 payments, and nothing is shown before its end.
    """
    timing = session.settings.timing
    found = session.read(
        lambda tx: checks.violations(tx, quiesced=quiesced, payment_id=payment, timing=timing),
        timeouts=READS_EVERYTHING,
    )
    rows = [asdict(violation) for violation in found]
    if as_json:
        print_json({"ok": not rows, "invariants": len(checks.INVARIANTS), "violations": rows})
    elif rows:
        columns = {"invariant": "Broken", "payment_id": "Payment", "detail": "Row"}
        print_rows(rows, columns, empty="", title=f"violations: {len(rows)}")
    else:
        click.echo(f"{len(checks.INVARIANTS)} invariants hold")
    if rows:
        raise click.exceptions.Exit(1)
