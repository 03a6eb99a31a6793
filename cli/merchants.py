"""`postbox merchants`: who we process for."""

from __future__ import annotations

from uuid import UUID

import click

from app.services import merchant_payouts, proposals
from app.services import merchants as service
from cli.merchant_payouts import amount_options
from cli.render import money, print_facts, print_json, print_rows, text
from cli.session import Session, json_option, reason_option, with_session
from cli.signed_in import act_signed_in

OWING = {"merchant_id": "Id", "merchant": "Merchant", "owes": "Owes", "updated_at": "Since (UTC)"}


@click.group()
def merchants() -> None:
    """Create and list merchants, and those who owe us."""


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


@merchants.command()
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@with_session
def owing(session: Session, limit: int, as_json: bool) -> None:
    """List merchants who have less than nothing available: what they owe us, the most first."""
    rows = session.read(lambda tx: merchant_payouts.debts(tx, limit=limit))
    if as_json:
        print_json(rows)
    else:
        rows = [row | {"owes": money(row["owes"], row["currency"], row["exponent"])} for row in rows]
        print_rows(rows, OWING, empty="no merchant owes us anything")


@merchants.command("write-off")
@amount_options
@reason_option
@json_option
@with_session
def write_off(session: Session, merchant: UUID, amount: int, currency: str, reason: str, as_json: bool) -> None:
    """Propose to take what MERCHANT owes us as lost (J11); another person approves it: postbox proposals approve."""
    timing = session.settings.timing
    row = act_signed_in(
        session,
        lambda tx, person: proposals.propose_write_off(
            tx, merchant, amount=amount, currency=currency, by=person.name, reason=reason, timing=timing
        ),
        reason=reason,
    )
    if as_json:
        print_json(row)
    else:
        click.echo(f"proposed as {row['id']}: another person approves it until {text(row['expires_at'])}")
