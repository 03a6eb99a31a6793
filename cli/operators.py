"""`postbox operators`: the people who sign in; their passwords and second factors are shown once."""

from __future__ import annotations

import time

import click

from app.db.pool import Row
from app.model import second_factor
from app.model.operator_role import OperatorRole
from app.services import operators as service
from app.services.operators import Proof
from cli.render import print_facts, print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session

COLUMNS = {"name": "Name", "role": "Role", "created_at": "Created", "seen_at": "Seen last", "disabled_at": "Disabled"}


@click.group()
def operators() -> None:
    """Enroll, list, reset and disable the people who operate Postbox."""


@operators.command()
@click.argument("name")
@click.option(
    "--role", required=True, type=click.Choice([role.value for role in OperatorRole]), help="What they may do."
)
@json_option
@with_session
def create(session: Session, name: str, role: str, as_json: bool) -> None:
    """Enroll NAME, and print how they sign in; it cannot be shown again."""
    proof = service.new_proof(session.settings.operator_key)
    _show_once(session.act(lambda tx: service.create(tx, name, role=role, proof=proof)), proof, as_json)


@operators.command("list")
@json_option
@with_session
def list_(session: Session, as_json: bool) -> None:
    """List everybody, also those who left."""
    rows = session.read(service.everybody)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, COLUMNS, empty="no operators yet: postbox operators create NAME --role admin")


@operators.command()
@click.argument("name")
@reason_option
@json_option
@with_session
def disable(session: Session, name: str, reason: str, as_json: bool) -> None:
    """Sign NAME out at once, for good."""
    row = session.act(lambda tx: service.disable(tx, name, reason=reason), reason=reason)
    if as_json:
        print_json(row)
    else:
        click.echo(f"disabled {name}")


@operators.command()
@click.argument("name")
@reason_option
@json_option
@with_session
def reset(session: Session, name: str, reason: str, as_json: bool) -> None:
    """Give NAME another password and second factor, and sign them out."""
    proof = service.new_proof(session.settings.operator_key)
    row = session.act(lambda tx: service.reset(tx, name, reason=reason, proof=proof), reason=reason)
    _show_once(row, proof, as_json)


@operators.command()
@click.option(
    "--secret", envvar="POSTBOX_DEMO_TOTP", required=True, help="Else POSTBOX_DEMO_TOTP, as bin/run leaves it."
)
def code(secret: str) -> None:
    """Print the code of this moment, where there is no authenticator app; for the demo and for scripts."""
    click.echo(second_factor.code(secret, time.time()))


def _show_once(row: Row, proof: Proof, as_json: bool) -> None:
    shown = {
        "name": row["name"],
        "role": row["role"],
        "password": proof.password,
        "totp_secret": proof.secret,
        "totp_uri": second_factor.enrollment_uri(proof.secret, row["name"]),
    }
    if as_json:
        print_json(shown)
    else:
        print_facts(shown)
        click.echo("This is the only time they are shown; an authenticator app takes the secret or the URI.", err=True)
