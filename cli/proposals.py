"""`postbox proposals`: what one person proposed and another decides, within a day."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import click

from app.db.pool import Row, Tx
from app.services import proposals as service
from app.services.sign_in import Person
from cli.render import print_facts, print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session
from cli.signed_in import act_signed_in

COLUMNS = {"id": "Proposal", "act": "Act", "status": "Status", "payment_id": "Payment", "parameters": "What exactly",
           "proposed_by": "By", "reason": "Why", "expires_at": "Until (UTC)"}  # fmt: skip


@click.group()
def proposals() -> None:
    """What takes two people: proposed by one, decided by another, who signs in for it."""


@proposals.command("list")
@click.option("--all", "every", is_flag=True, help="Also those that are decided or expired.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@with_session
def list_(session: Session, every: bool, limit: int, as_json: bool) -> None:
    """List proposals, newest first."""
    rows = session.read(lambda tx: service.page(tx, only_open=not every, before=None, limit=limit))
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, COLUMNS, empty="no proposals")


@proposals.command()
@click.argument("proposal", type=click.UUID)
@json_option
@with_session
def show(session: Session, proposal: UUID, as_json: bool) -> None:
    """Show one proposal: exactly what would be done, for whom, why, and who decided."""
    _tell(session.read(lambda tx: service.get(tx, proposal)), as_json)


@proposals.command()
@click.argument("proposal", type=click.UUID)
@reason_option
@json_option
@with_session
def approve(session: Session, proposal: UUID, reason: str, as_json: bool) -> None:
    """Agree, and have it done: both or neither. Nobody approves what they proposed."""
    _tell(_decided(session, proposal, service.approve, reason), as_json)


@proposals.command()
@click.argument("proposal", type=click.UUID)
@reason_option
@json_option
@with_session
def reject(session: Session, proposal: UUID, reason: str, as_json: bool) -> None:
    """Disagree, or take your own back: it will not be done."""
    _tell(_decided(session, proposal, service.reject, reason), as_json)


def _decided(session: Session, proposal: UUID, decide: Callable[..., Row], reason: str) -> Row:
    def work(tx: Tx, person: Person) -> Row:
        return decide(tx, proposal, by=person.name, reason=reason)

    return act_signed_in(session, work, reason=reason)


def _tell(row: Row, as_json: bool) -> None:
    if as_json:
        print_json(row)
    else:
        print_facts(row)
