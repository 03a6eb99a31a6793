"""`postbox keys`: API keys, shown once and revoked for a reason."""

from __future__ import annotations

from uuid import UUID

import click

from app.services import api_keys
from cli.render import print_facts, print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session


@click.group()
def keys() -> None:
    """Issue, revoke and list API keys."""


@keys.command()
@click.argument("merchant_id", type=click.UUID, required=False)
@click.option("--merchant", type=click.UUID, help="The merchant it belongs to; the same as MERCHANT_ID.")
@click.option("--label", default="default", show_default=True, help="What it is for.")
@click.option("--live", is_flag=True, help="A key for real money.")
@json_option
@with_session
def create(
    session: Session, merchant_id: UUID | None, merchant: UUID | None, label: str, live: bool, as_json: bool
) -> None:
    """Create an API key and print it; it cannot be shown again."""
    if merchant_id and merchant and merchant_id != merchant:
        raise click.UsageError("two merchants were named")
    owner = merchant or merchant_id
    if owner is None:
        raise click.UsageError("say whose key it is: --merchant ID")
    pepper = session.settings.key_pepper
    made = session.act(lambda tx: api_keys.create(tx, owner, label=label, livemode=live, pepper=pepper))
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
        print_rows(rows, columns | {"created_at": "Created"}, empty="no keys yet: postbox keys create --merchant ID")
