"""`postbox discrepancies`: books that do not meet, looked at, taken care of, closed with a reason, written off."""

from __future__ import annotations

from uuid import UUID

import click

from app.db.pool import Row
from app.model import public_id
from app.services import discrepancies as service
from cli.identity import DISCREPANCY_ID, PAYMENT_ID
from cli.render import age, money, print_facts, print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session
from cli.signed_in import act_signed_in

# Exit code while a critical one is open.
CRITICAL = 3

AMOUNTS = ("expected", "actual", "delta")
SEVERITIES = ("critical", "high", "medium", "low")
COLUMNS = {"discrepancy": "Discrepancy", "severity": "Severity", "type": "Type", "status": "Status", "age": "Age",
           "sla_due_at": "Due (UTC)", "payment": "Payment", "ref": "Ref",
           "expected": "Expected", "actual": "Actual"}  # fmt: skip
HISTORY = {"recorded_at": "When (UTC)", "action": "What", "actor_type": "Actor", "actor_id": "Who", "reason": "Why"}


def end_as_found(session: Session, *, agrees: bool = True) -> None:
    """How a command ends that looks at books: 3 while any critical one is open, else 1 if what it shows disagrees."""
    if session.read(service.open_critical):
        raise click.exceptions.Exit(CRITICAL)
    if not agrees:
        raise click.exceptions.Exit(1)


@click.group()
def discrepancies() -> None:
    """Books that do not meet. They close by themselves when they do; the others wait for a person.

    What looks (list, show) exits 3 while a critical one is open; what acts (ack, resolve, write-off) exits 0 when it is
    done.
    """


@discrepancies.command("list")
@click.option("--all", "every", is_flag=True, help="Also those that are closed.")
@click.option("--type", "kind", help="Only of this type.")
@click.option("--severity", type=click.Choice(SEVERITIES), help="Only of this severity.")
@click.option("--payment", type=PAYMENT_ID, help="Only those of this payment.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@json_option
@with_session
def list_(
    session: Session,
    every: bool,
    kind: str | None,
    severity: str | None,
    payment: UUID | None,
    limit: int,
    as_json: bool,
) -> None:
    """List discrepancies, the worst first; exit 3 while a critical one is open."""
    wanted = service.Filter(every, kind, severity, payment)
    rows = session.read(lambda tx: service.find(tx, wanted, limit=limit))
    if as_json:
        print_json(rows)
    else:
        print_rows([_shown(row) for row in rows], COLUMNS, empty="no discrepancies")
    end_as_found(session)


@discrepancies.command()
@click.argument("identity", metavar="DISCREPANCY", type=DISCREPANCY_ID)
@json_option
@with_session
def show(session: Session, identity: UUID, as_json: bool) -> None:
    """Show one discrepancy and everything that was done about it; exit 3 while a critical one is open."""
    row = session.read(lambda tx: service.get(tx, identity))
    done = session.read(lambda tx: service.history(tx, row))
    if as_json:
        print_json(row | {"history": done})
    else:
        print_facts({name: value for name, value in _shown(row).items() if name not in ("id", "exponent", "age_s")})
        print_rows(done, HISTORY, empty="nothing was done about it")
    end_as_found(session)


@discrepancies.command()
@click.argument("identity", metavar="DISCREPANCY", type=DISCREPANCY_ID)
@reason_option
@json_option
@with_session
def ack(session: Session, identity: UUID, reason: str, as_json: bool) -> None:
    """Say that you look after it; it stays open."""
    row = session.act(lambda tx: service.acknowledge(tx, identity, by=session.operator, note=reason), reason=reason)
    _tell(row, f"acknowledged by {row['acknowledged_by']}", as_json)


@discrepancies.command()
@click.argument("identity", metavar="DISCREPANCY", type=DISCREPANCY_ID)
@click.option("--code", required=True, help="What it was, in one word: explained, provider_corrected, ...")
@reason_option
@json_option
@with_session
def resolve(session: Session, identity: UUID, code: str, reason: str, as_json: bool) -> None:
    """Close it for a reason; it stays closed until its amounts change."""
    row = session.act(
        lambda tx: service.resolve(tx, identity, by=session.operator, code=code, note=reason), reason=reason
    )
    _tell(row, f"resolved by {row['resolved_by']}", as_json)


@discrepancies.command("write-off")
@click.argument("identity", metavar="DISCREPANCY", type=DISCREPANCY_ID)
@reason_option
@json_option
@with_session
def write_off(session: Session, identity: UUID, reason: str, as_json: bool) -> None:
    """Book what clearing holds of it as a loss (J11).

    Who may propose asks; within a day another, who may decide, runs the same command and posts it. Both sign in.
    """
    row = act_signed_in(session, lambda tx, _: service.write_off(tx, identity, reason=reason), reason=reason)
    if row["status"] == "written_off":
        entry = public_id.show(public_id.ENTRY, row["resolution_entry_id"])
        _tell(row, f"written off by {entry}, asked by {row['resolved_by']}, approved by {row['approved_by']}", as_json)
    else:
        _tell(row, f"asked by {row['write_off_asked_by']}: another operator posts it", as_json)


def _tell(row: Row, line: str, as_json: bool) -> None:
    if as_json:
        print_json(row)
    else:
        click.echo(line)


def _shown(row: Row) -> Row:
    """As people read it: ids as the API prints them, money with its currency."""
    currency, exponent = row["currency"], row["exponent"]
    amounts = {
        name: money(row[name], currency, exponent) if currency else row[name]
        for name in ("expected", "actual", "delta")
    }
    payment = row["payment_id"] and public_id.show(public_id.PAYMENT, row["payment_id"])
    names = {
        "discrepancy": public_id.show(public_id.DISCREPANCY, row["id"]),
        "payment": payment,
        "age": age(row["age_s"]),
    }
    return names | row | amounts
