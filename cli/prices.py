"""`postbox prices`: what providers charge us, and what we charge merchants; every change for a reason."""

from __future__ import annotations

from uuid import UUID

import click

from app.services import prices as service
from cli.render import print_json, print_rows
from cli.session import Session, json_option, reason_option, with_session

OURS = {"id": "Schedule", "bps": "Basis points", "fixed": "Fixed", "dispute_fee_bps": "Dispute fee",
        "dispute_fee_returned": "Returned", "effective_at": "Since (UTC)", "merchants": "Merchants"}  # fmt: skip
THEIRS = {"provider": "Provider", "account": "Account", "method": "Method", "currency": "Currency",
          "bps": "Basis points", "fixed": "Fixed"}  # fmt: skip

# More than the whole of a payment is no share of it.
BPS = click.IntRange(0, 10_000)


class Fixed(click.ParamType[tuple[str, int]]):
    """usd=30: a currency and minor units."""

    name = "fixed"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        currency, _, amount = str(value).partition("=")
        if len(currency) != 3 or not amount.isascii() or not amount.isdigit():
            self.fail(f"{value!r} is no fixed part: a currency and minor units, like usd=30", param, ctx)
        return currency.lower(), int(amount)


@click.group()
def prices() -> None:
    """What providers charge us, and what we charge merchants. Amounts are minor units."""


@prices.command("list")
@json_option
@with_session
def list_(session: Session, as_json: bool) -> None:
    """List both: every version of ours, and what each provider has agreed to."""
    ours, theirs = session.read(lambda tx: (service.schedules(tx), service.of_providers(tx)))
    if as_json:
        print_json({"merchants": ours, "providers": theirs})
        return
    print_rows(ours, OURS, empty="merchants are charged nothing", title="What merchants pay")
    print_rows(theirs, THEIRS, empty="no provider's fees are compared", title="What providers charge")


@prices.command()
@click.argument("provider")
@click.argument("account")
@click.argument("method", type=click.Choice(service.METHODS))
@click.argument("currency")
@click.option("--bps", required=True, type=BPS, help="Basis points of a charge.")
@click.option("--fixed", default=0, show_default=True, type=click.IntRange(min=0), help="And so much for each.")
@reason_option
@json_option
@with_session
def provider(
    session: Session,
    provider: str,
    account: str,
    method: str,
    currency: str,
    bps: int,
    fixed: int,
    reason: str,
    as_json: bool,
) -> None:
    """Set what a provider charges us; payments flagged by the old price are compared with it at once."""
    compared = session.act(
        lambda tx: service.set_provider(tx, provider, account, method, currency, bps=bps, fixed=fixed, reason=reason),
        reason=reason,
    )
    if as_json:
        print_json({"provider": provider, "account": account, "method": method, "currency": currency.lower(),
                    "bps": bps, "fixed": fixed, "compared": compared})  # fmt: skip
    else:
        click.echo(
            f"{provider}/{account} charges {bps} basis points and {fixed}; {compared} payments are compared anew"
        )


@prices.command()
@click.argument("name")
@click.option("--bps", required=True, type=BPS, help="Basis points of what was captured.")
@click.option("--fixed", multiple=True, type=Fixed(), help="And so much in this currency: usd=30. May be repeated.")
@click.option("--dispute-fee-bps", default=10_000, show_default=True, type=click.IntRange(0, 100_000),
              help="Of the provider's dispute fee: 10000 is all of it.")  # fmt: skip
@click.option("--dispute-fee-returned", is_flag=True, help="Give it back when the dispute is won.")
@reason_option
@json_option
@with_session
def create(
    session: Session,
    name: str,
    bps: int,
    fixed: tuple[tuple[str, int], ...],
    dispute_fee_bps: int,
    dispute_fee_returned: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Create the next version of the schedule NAME; payments that were made before keep theirs."""
    row = session.act(
        lambda tx: service.add_version(
            tx,
            name,
            bps=bps,
            fixed=dict(fixed),
            dispute_fee_bps=dispute_fee_bps,
            dispute_fee_returned=dispute_fee_returned,
            reason=reason,
        ),
        reason=reason,
    )
    if as_json:
        print_json(row)
    else:
        click.echo(f"{row['id']} is in force")


@prices.command()
@click.argument("merchant", type=click.UUID)
@click.argument("name", required=False)
@reason_option
@json_option
@with_session
def assign(session: Session, merchant: UUID, name: str | None, reason: str, as_json: bool) -> None:
    """Charge MERCHANT's new payments by the schedule NAME; without a name, nothing."""
    row = session.act(lambda tx: service.assign(tx, merchant, name, reason=reason), reason=reason)
    if as_json:
        print_json(row)
    else:
        click.echo(f"{row['name']} pays by {row['fee_schedule'] or 'no schedule'}")
