"""`postbox payments`: the register at the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import click

from app.db.pool import Row
from app.model import public_id
from app.model.states import State
from app.services import registers
from cli.identity import PAYMENT_ID
from cli.render import money, print_facts, print_json, print_rows
from cli.session import Session, json_option, with_session

COLUMNS = {"payment": "Payment", "merchant": "Merchant", "created_at": "Created", "state": "State", "amount": "Amount",
           "reference": "Reference", "provider_ref": "Provider", "has_dead_letter": "Dead letter"}  # fmt: skip
OPERATIONS = {"id": "Operation", "kind": "Kind", "status": "Status", "step": "Step", "attempt": "Attempt",
              "outcome": "Outcome", "created_at": "Requested", "finished_at": "Finished"}  # fmt: skip
DELIVERIES = {"handler": "Open delivery", "status": "Status", "due_at": "Due", "runs": "Runs", "failures": "Failures",
              "deferred_for": "Waits for", "dead_reason": "Died of"}  # fmt: skip


@click.group()
def payments() -> None:
    """Look at payments."""


@payments.command("list")
@click.option("--merchant", type=click.UUID, help="Only this merchant's.")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only in this state.")
@click.option("--since", type=click.DateTime(), help="Only those created since (UTC).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@with_session
def list_(
    session: Session, merchant: UUID | None, state: str | None, since: datetime | None, limit: int, as_json: bool
) -> None:
    """List payments, newest first."""
    moment = since.replace(tzinfo=UTC) if since else None
    rows = session.read(lambda tx: registers.newest(tx, merchant_id=merchant, state=state, since=moment, limit=limit))
    rows = [{"payment": public_id.show(public_id.PAYMENT, row["payment_id"])} | row for row in rows]
    if as_json:
        print_json(rows)
    else:
        print_rows([_in_money(row) for row in rows], COLUMNS, empty="no payments")


@payments.command()
@click.argument("payment", type=PAYMENT_ID)
@json_option
@with_session
def show(session: Session, payment: UUID, as_json: bool) -> None:
    """Show one payment (pay_... or UUID), its operations and what is still open about it."""
    found = session.read(lambda tx: registers.one(tx, payment))
    row: Row = {"payment": public_id.show(public_id.PAYMENT, payment)} | found
    if as_json:
        print_json(row)
        return
    apart = ("operations", "open_deliveries", "exponent")
    print_facts({name: value for name, value in _in_money(row).items() if name not in apart})
    print_rows(row["operations"], OPERATIONS, empty="no operations")
    print_rows(row["open_deliveries"], DELIVERIES, empty="nothing is open")


def _in_money(row: Row) -> Row:
    names = ("amount", "captured", "refunded", "disputed", "lost", "provider_fees")
    written = {name: money(row[name], row["currency"], row["exponent"]) for name in names if name in row}
    return row | written
