"""`postbox keys`: API keys, shown once, rotated and revoked for a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import click

from app.db.pool import Row
from app.model.scope import ALL_SCOPES
from app.services import api_keys
from cli.render import print_facts, print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session


@click.group()
def keys() -> None:
    """Issue, rotate, revoke and list API keys."""


@keys.command()
@click.argument("merchant_id", type=click.UUID, required=False)
@click.option("--merchant", type=click.UUID, help="The merchant it belongs to; the same as MERCHANT_ID.")
@click.option("--label", default="default", show_default=True, help="What it is for.")
@click.option("--live", is_flag=True, help="A key for real money.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(ALL_SCOPES),
    help="What it may do; repeat it. Else everything.",
)
@click.option("--from", "networks", multiple=True, help="A network it may be used from (CIDR); repeat it.")
@click.option("--expires", type=click.DateTime(), help="When it ends (UTC).")
@json_option
@with_session
def create(
    session: Session,
    merchant_id: UUID | None,
    merchant: UUID | None,
    label: str,
    live: bool,
    scopes: tuple[str, ...],
    networks: tuple[str, ...],
    expires: datetime | None,
    as_json: bool,
) -> None:
    """Create an API key and print it; it cannot be shown again."""
    if merchant_id and merchant and merchant_id != merchant:
        raise click.UsageError("two merchants were named")
    owner = merchant or merchant_id
    if owner is None:
        raise click.UsageError("say whose key it is: --merchant ID")
    made = session.act(
        lambda tx: api_keys.create(
            tx,
            owner,
            label=label,
            livemode=live,
            pepper=session.settings.key_pepper,
            scopes=scopes or ALL_SCOPES,
            allowed_from=networks,
            expires_at=expires.replace(tzinfo=UTC) if expires else None,
        )
    )
    _show_once(made, as_json)


@keys.command()
@click.argument("key_id")
@click.option("--overlap-hours", default=24.0, show_default=True, type=click.FloatRange(0), help="Both work so long.")
@reason_option
@json_option
@with_session
def rotate(session: Session, key_id: str, overlap_hours: float, reason: str, as_json: bool) -> None:
    """Make a key that may do the same as KEY_ID and print it; KEY_ID ends after the overlap."""
    pepper = session.settings.key_pepper
    made = session.act(
        lambda tx: api_keys.rotate(tx, key_id, overlap=overlap_hours * 3600, reason=reason, pepper=pepper),
        reason=reason,
    )
    _show_once(made, as_json)


def _show_once(made: Row, as_json: bool) -> None:
    if as_json:
        print_json(made)
    else:
        print_facts(made)
        click.echo("This is the only time the key is shown.", err=True)


@keys.command()
@click.argument("key_id")
@reason_option
@json_option
@with_session
def revoke(session: Session, key_id: str, reason: str, as_json: bool) -> None:
    """Revoke the key KEY_ID (the 16 characters after pb_test_ or pb_live_)."""
    row = session.act(lambda tx: api_keys.revoke(tx, key_id, reason=reason), reason=reason)
    if as_json:
        print_json(row)
    else:
        click.echo(f"revoked {key_id}")


@keys.command("list")
@click.option("--merchant", type=click.UUID, help="Only this merchant's.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@json_option
@with_session
def list_(session: Session, merchant: UUID | None, limit: int, as_json: bool) -> None:
    """List API keys, newest first; never their secrets."""
    rows = session.read(lambda tx: api_keys.newest(tx, merchant_id=merchant, limit=limit))
    if as_json:
        print_json(rows)
    else:
        columns = {"id": "Key", "label": "Label", "merchant": "Merchant", "livemode": "Live", "status": "Status"}
        columns |= {"created_at": "Created", "expires_at": "Ends", "last_used_at": "Last used", "scopes": "Scopes"}
        print_rows(rows, columns, empty="no keys yet: postbox keys create --merchant ID")
