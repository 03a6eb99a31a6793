"""`postbox disputes`: what payers dispute; the provider decides, so there is only to look."""

from __future__ import annotations

from uuid import UUID

import click

from app.db.pool import Row
from app.model import public_id
from app.model.states import DisputeState
from app.services import disputes as service
from app.services.listing import Anyones
from cli.identity import DISPUTE_ID, PAYMENT_ID
from cli.render import money, print_facts, print_json, print_rows
from cli.session import Session, json_option, with_session

COLUMNS = {"dispute": "Dispute", "payment": "Payment", "created_at": "Heard of (UTC)", "state": "State",
           "amount": "Amount", "amount_withdrawn": "Holds", "reason": "Reason",
           "evidence_due_at": "Evidence by (UTC)"}  # fmt: skip
LINES = {"ref": "Money line", "kind": "Kind", "gross": "Gross", "fee": "Fee", "net": "Net", "status": "Status",
         "created_at_provider": "When (UTC)"}  # fmt: skip


@click.group()
def disputes() -> None:
    """What payers dispute at the provider, and what of the money it holds."""


@disputes.command("list")
@click.option("--merchant", type=click.UUID, help="Only this merchant's.")
@click.option("--payment", type=PAYMENT_ID, help="Only those of this payment.")
@click.option("--state", type=click.Choice([state.value for state in DisputeState]), help="Only in this state.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@with_session
def list_(
    session: Session, merchant: UUID | None, payment: UUID | None, state: str | None, limit: int, as_json: bool
) -> None:
    """List disputes, newest first."""
    rows = session.read(lambda tx: service.find(tx, Anyones(merchant, payment, state), limit=limit))
    if as_json:
        print_json([_named(row) for row in rows])
    else:
        print_rows([_in_money(_named(row), "amount", "amount_withdrawn") for row in rows], COLUMNS, empty="no disputes")


@disputes.command()
@click.argument("identity", metavar="DISPUTE", type=DISPUTE_ID)
@json_option
@with_session
def show(session: Session, identity: UUID, as_json: bool) -> None:
    """Show one dispute and the provider's money lines about it."""
    row, lines = session.read(lambda tx: service.show(tx, identity))
    if as_json:
        print_json(_named(row) | {"lines": lines})
        return
    print_facts(
        {
            name: value
            for name, value in _in_money(_named(row), "amount", "amount_withdrawn").items()
            if name != "exponent"
        }
    )
    print_rows([_in_money(line, "gross", "fee", "net") for line in lines], LINES, empty="no money has moved")


def _named(row: Row) -> Row:
    names = {"dispute": public_id.show(public_id.DISPUTE, row["id"])}
    return names | {"payment": public_id.show(public_id.PAYMENT, row["payment_id"])} | row


def _in_money(row: Row, *names: str) -> Row:
    return row | {name: money(row[name], row["currency"], row["exponent"]) for name in names}
