"""`postbox ledger`: the books at the command line, for people and, with --json, for machines."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import click

from app.db.pool import Row
from app.model import public_id
from app.services import ledger as service
from cli.identity import ENTRY_ID, PAYMENT_ID
from cli.render import money, print_facts, print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session

TRIAL = {"account": "Account", "kind": "Kind", "currency": "Currency", "accounts": "Accounts", "debits": "Debits",
         "credits": "Credits", "balance": "Balance"}  # fmt: skip
LINES = {"recorded_at": "When (UTC)", "kind": "Kind", "entry": "Entry", "payment": "Payment", "amount": "Amount"}
ENTRY = {"line": "Line", "account": "Account", "kind": "Kind", "amount": "Amount"}


@click.group()
def ledger() -> None:
    """Read the books. Debit is positive, credit negative, amounts in minor units in JSON."""


@ledger.command("trial-balance")
@click.option("--merchant", type=click.UUID, help="Only this merchant's accounts.")
@click.option("--until", type=click.DateTime(), help="Only what was recorded before (UTC).")
@json_option
@with_session
def trial_balance(session: Session, merchant: UUID | None, until: datetime | None, as_json: bool) -> None:
    """Every account with its debits and credits; exit 1 unless the control total is 0 in every currency."""
    moment = until.replace(tzinfo=UTC) if until else None
    rows, totals = session.read(lambda tx: service.trial_balance(tx, merchant_id=merchant, until=moment))
    if as_json:
        print_json({"accounts": rows, "control_total": totals})
    else:
        print_rows([_in_money(row, "debits", "credits", "balance") for row in rows], TRIAL, empty="nothing was posted")
        told = ", ".join(f"{total} {currency}" for currency, total in totals.items()) or "0"
        click.echo(f"control total: {told}")
    if any(totals.values()):
        raise click.exceptions.Exit(1)


@ledger.command()
@click.argument("name")
@click.option("--payment", type=PAYMENT_ID, help="Only the lines of this payment.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@with_session
def account(session: Session, name: str, payment: UUID | None, limit: int, as_json: bool) -> None:
    """What an account holds and its newest lines; NAME is clearing:stripe, merchant:{id}:pending and the like."""
    found, lines = session.read(lambda tx: service.account(tx, name, payment_id=payment, limit=limit))
    lines = [_named(line) for line in lines]
    if as_json:
        print_json(found | {"lines": lines})
        return
    print_facts({key: found[key] for key in ("account", "kind", "opened_at", "holds")})
    print_rows([_in_money(line, "amount") for line in lines], LINES, empty="no lines")


@ledger.command()
@click.argument("entry_id", metavar="ENTRY", type=ENTRY_ID)
@json_option
@with_session
def entry(session: Session, entry_id: UUID, as_json: bool) -> None:
    """One entry (le_... or UUID): what made it, and its lines."""
    found, lines = session.read(lambda tx: service.entry(tx, entry_id))
    if as_json:
        print_json(found | {"lines": lines})
        return
    print_facts(found)
    print_rows([_in_money(line, "amount") for line in lines], ENTRY, empty="no lines")


@ledger.command()
@click.argument("entry_id", metavar="ENTRY", type=ENTRY_ID)
@reason_option
@json_option
@with_session
def reverse(session: Session, entry_id: UUID, reason: str, as_json: bool) -> None:
    """Post the opposite of an entry; the only way to correct one."""
    made = session.act(lambda tx: service.reverse(tx, entry_id, reason=reason), reason=reason)
    if as_json:
        print_json({"entry": made})
    else:
        click.echo(f"reversed by {public_id.show(public_id.ENTRY, made)}")


def _named(line: Row) -> Row:
    payment = line["payment_id"] and public_id.show(public_id.PAYMENT, line["payment_id"])
    return line | {"entry": public_id.show(public_id.ENTRY, line["entry_id"]), "payment": payment}


def _in_money(row: Row, *names: str) -> Row:
    return row | {name: money(row[name], row["currency"], row["exponent"]) for name in names}
