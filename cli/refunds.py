"""`postbox refunds`: what was given back of payments, by us or at the provider, and giving back more."""

from __future__ import annotations

from uuid import UUID

import click

from app.db.pool import Row
from app.model import public_id
from app.model.operation import REFUND_REASONS
from app.model.states import RefundState
from app.services import refunds as service
from app.services.listing import Anyones
from cli.identity import PAYMENT_ID, REFUND_ID
from cli.render import money, print_facts, print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session

COLUMNS = {"refund": "Refund", "payment": "Payment", "created_at": "Requested (UTC)", "state": "State",
           "amount": "Amount", "origin": "Origin", "provider_ref": "Provider", "failure_reason": "Failed"}  # fmt: skip
LINES = {"ref": "Money line", "kind": "Kind", "gross": "Gross", "fee": "Fee", "net": "Net", "status": "Status",
         "created_at_provider": "When (UTC)"}  # fmt: skip


@click.group()
def refunds() -> None:
    """Money that goes back to payers."""


@refunds.command("list")
@click.option("--merchant", type=click.UUID, help="Only this merchant's.")
@click.option("--payment", type=PAYMENT_ID, help="Only those of this payment.")
@click.option("--state", type=click.Choice([state.value for state in RefundState]), help="Only in this state.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@with_session
def list_(
    session: Session, merchant: UUID | None, payment: UUID | None, state: str | None, limit: int, as_json: bool
) -> None:
    """List refunds, newest first."""
    rows = session.read(lambda tx: service.find(tx, Anyones(merchant, payment, state), limit=limit))
    if as_json:
        print_json([_named(row) for row in rows])
    else:
        print_rows([_in_money(_named(row), "amount") for row in rows], COLUMNS, empty="no refunds")


@refunds.command()
@click.argument("identity", metavar="REFUND", type=REFUND_ID)
@json_option
@with_session
def show(session: Session, identity: UUID, as_json: bool) -> None:
    """Show one refund and the provider's money lines about it."""
    row, lines = session.read(lambda tx: service.show(tx, identity))
    if as_json:
        print_json(_named(row) | {"lines": lines})
        return
    print_facts({name: value for name, value in _in_money(_named(row), "amount").items() if name != "exponent"})
    print_rows([_in_money(line, "gross", "fee", "net") for line in lines], LINES, empty="no money has moved")


@refunds.command()
@click.argument("payment", type=PAYMENT_ID)
@click.option("--amount", type=click.IntRange(min=1), help="In minor units; all that is left unless given.")
@click.option("--as", "why", type=click.Choice(REFUND_REASONS), default=REFUND_REASONS[0], show_default=True,
              help="What the provider and the merchant are told.")  # fmt: skip
@reason_option
@json_option
@with_session
def create(session: Session, payment: UUID, amount: int | None, why: str, reason: str, as_json: bool) -> None:
    """Refund a payment, as its merchant could: reserved now, carried out by a worker."""
    row = session.act(lambda tx: service.request_by_operator(tx, payment, amount=amount, reason=why), reason=reason)
    if as_json:
        print_json(_named(row))
    else:
        click.echo(f"{_named(row)['refund']} is {row['state']}")


def _named(row: Row) -> Row:
    names = {"refund": public_id.show(public_id.REFUND, row["id"])}
    return names | {"payment": public_id.show(public_id.PAYMENT, row["payment_id"])} | row


def _in_money(row: Row, *names: str) -> Row:
    return row | {name: money(row[name], row["currency"], row["exponent"]) for name in names}
