"""`postbox merchant-payouts` and `postbox reserve`: a merchant's money, paid to its bank, held back, let go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import click

from app.db.pool import Row
from app.model import public_id
from app.services import merchant_payouts as service
from cli.identity import MERCHANT_PAYOUT_ID
from cli.render import money, print_facts, print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session

COLUMNS = {"payout": "Merchant payout", "merchant": "Merchant", "status": "Status", "amount": "Amount",
           "requested_at": "Requested (UTC)", "requested_by": "By", "bank_ref": "Bank"}  # fmt: skip
ENTRIES = {"entry": "Entry", "kind": "Kind", "recorded_at": "When (UTC)"}


def amount_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the merchant and the sum."""
    for option in (
        click.option("--currency", required=True, help="ISO 4217."),
        click.option("--amount", required=True, type=click.IntRange(min=1), help="In minor units."),
        click.argument("merchant", type=click.UUID),
    ):
        command = option(command)
    return command


@click.group("merchant-payouts")
def merchant_payouts() -> None:
    """What merchants are paid of what they have. The provider's payouts to us are `reconcile payout`."""


@merchant_payouts.command()
@amount_options
@reason_option
@json_option
@with_session
def create(session: Session, merchant: UUID, amount: int, currency: str, reason: str, as_json: bool) -> None:
    """Take it from what MERCHANT has available (J9); refused when that is less."""
    row = session.act(
        lambda tx: service.request(tx, merchant, amount=amount, currency=currency, reason=reason), reason=reason
    )
    _tell(row, as_json)


@merchant_payouts.command()
@click.argument("identity", metavar="PAYOUT", type=MERCHANT_PAYOUT_ID)
@click.option("--bank-account", required=True, help="Which account of ours it left, as the books name it.")
@click.option("--bank-ref", required=True, help="The bank's own reference of the line.")
@reason_option
@json_option
@with_session
def paid(session: Session, identity: UUID, bank_account: str, bank_ref: str, reason: str, as_json: bool) -> None:
    """The bank has paid it: its line closes what was in flight."""
    row = session.act(
        lambda tx: service.paid(tx, identity, bank_account=bank_account, bank_ref=bank_ref, reason=reason),
        reason=reason,
    )
    _tell(row, as_json)


@merchant_payouts.command()
@click.argument("identity", metavar="PAYOUT", type=MERCHANT_PAYOUT_ID)
@reason_option
@json_option
@with_session
def returned(session: Session, identity: UUID, reason: str, as_json: bool) -> None:
    """The bank refused it or sent it back: the merchant has it again."""
    _tell(session.act(lambda tx: service.returned(tx, identity, reason=reason), reason=reason), as_json)


@merchant_payouts.command("list")
@click.option("--merchant", type=click.UUID, help="Only this merchant's.")
@click.option("--status", type=click.Choice(service.STATUSES), help="Only in this status.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@with_session
def list_(session: Session, merchant: UUID | None, status: str | None, limit: int, as_json: bool) -> None:
    """List them, newest first."""
    rows = session.read(lambda tx: service.find(tx, merchant_id=merchant, status=status, limit=limit))
    if as_json:
        print_json([_named(row) for row in rows])
    else:
        print_rows([_in_money(_named(row)) for row in rows], COLUMNS, empty="no merchant was paid")


@merchant_payouts.command()
@click.argument("identity", metavar="PAYOUT", type=MERCHANT_PAYOUT_ID)
@json_option
@with_session
def show(session: Session, identity: UUID, as_json: bool) -> None:
    """Show one, and what it posted."""
    row, posted = session.read(lambda tx: service.get(tx, identity))
    posted = [{"entry": public_id.show(public_id.ENTRY, entry["id"])} | entry for entry in posted]
    if as_json:
        print_json(_named(row) | {"entries": posted})
        return
    print_facts({name: value for name, value in _in_money(_named(row)).items() if name != "exponent"})
    print_rows(posted, ENTRIES, empty="nothing was posted")


@click.group()
def reserve() -> None:
    """What is held back of a merchant's money (J10)."""


@reserve.command()
@amount_options
@reason_option
@json_option
@with_session
def hold(session: Session, merchant: UUID, amount: int, currency: str, reason: str, as_json: bool) -> None:
    """Hold it back of what MERCHANT has available; refused when that is less."""
    entry = session.act(
        lambda tx: service.hold(tx, merchant, amount=amount, currency=currency, reason=reason), reason=reason
    )
    _tell_entry("held", entry, as_json)


@reserve.command()
@amount_options
@reason_option
@json_option
@with_session
def release(session: Session, merchant: UUID, amount: int, currency: str, reason: str, as_json: bool) -> None:
    """Make it available again; refused when less is held."""
    entry = session.act(
        lambda tx: service.release(tx, merchant, amount=amount, currency=currency, reason=reason), reason=reason
    )
    _tell_entry("released", entry, as_json)


def _tell(row: Row, as_json: bool) -> None:
    if as_json:
        print_json(_named(row))
    else:
        click.echo(f"{_named(row)['payout']} is {row['status']}")


def _tell_entry(done: str, entry: UUID, as_json: bool) -> None:
    if as_json:
        print_json({"entry": entry})
    else:
        click.echo(f"{done} by {public_id.show(public_id.ENTRY, entry)}")


def _named(row: Row) -> Row:
    return {"payout": public_id.show(public_id.MERCHANT_PAYOUT, row["id"])} | row


def _in_money(row: Row) -> Row:
    return row | {"amount": money(row["amount"], row["currency"], row["exponent"])}
