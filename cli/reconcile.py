"""`postbox reconcile`: compare books by hand, look at a day's proof of balance or at a payout."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.progress import Progress

from app.db.pool import Row
from app.services import discrepancies as service
from app.services import provider_book
from app.services.discrepancies import Place, Range
from app.services.provider_book import PayoutPlace
from app.services.reconciliation import Compared, LedgerPlace, compare_ledger, preview_ledger
from cli.discrepancies import end_as_found
from cli.identity import PAYMENT_ID
from cli.reconcile_report import DEFAULT_DAYS, read_report, write_report
from cli.render import age, money, print_facts, print_json, print_rows
from cli.session import Session, json_option, with_session

# One transaction of a comparison by hand; its payments are locked for as long as it takes.
PAGE = 500
# The same for the books themselves, where an entry is a few lines.
LEDGER_PAGE = 2_000

PLAN = {"would": "Would", "severity": "Severity", "type": "Type", "subject": "About",
        "expected": "Expected", "actual": "Actual"}  # fmt: skip
BALANCES = {"day": "At the end of (UTC)", "provider": "Provider", "account": "Account", "currency": "Currency",
            "lines": "Its lines", "books": "Our books", "agrees": "Agrees"}  # fmt: skip
PROOFS = {"day": "Day (UTC)", "provider": "Provider", "account": "Account", "status": "Status", "currency": "Currency",
          "expected": "Our books", "actual": "Provider", "agrees": "Agrees"}  # fmt: skip
LINES = {"kind": "Kind", "lines": "Lines", "gross": "Gross", "fee": "Fee", "net": "Net"}


@click.group()
def reconcile() -> None:
    """Compare books. The worker does so by itself, all the time; this is for looking and for making sure.

    Every command exits 3 while a critical discrepancy is open, whatever it was asked about.
    """


@reconcile.command()
@click.option("--since", type=click.DateTime(), help="Only payments that changed since (UTC).")
@click.option("--until", type=click.DateTime(), help="Only payments that changed before (UTC).")
@click.option("--payment", type=PAYMENT_ID, help="Only this payment.")
@click.option("--provider", help="Only payments of this provider.")
@click.option("--dry-run", is_flag=True, help="Show what would be opened and closed and change nothing.")
@click.option("--html", "page", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write a report.")
@json_option
@with_session
def run(
    session: Session,
    since: datetime | None,
    until: datetime | None,
    payment: UUID | None,
    provider: str | None,
    dry_run: bool,
    page: Path | None,
    as_json: bool,
) -> None:
    """Compare the books of payments and record what does not meet; exit 3 while a critical discrepancy is open.

    Without a range all else is compared as well: the provider's lines that are about no payment of ours, its payouts
    with their lines, and the ledger with itself. A second run changes nothing.
    """
    wanted = Range(_utc(since), _utc(until), payment, provider)
    compared, plan = _walk(session, wanted, dry_run=dry_run, quiet=as_json)
    if wanted == Range():
        compared, plan = compared + _walk_provider(session, dry_run=dry_run), plan + _plan_provider(session, dry_run)
        opened, imbalances = _walk_ledger(session, dry_run=dry_run, quiet=as_json)
        compared, plan = compared + Compared(opened=opened), plan + imbalances
    if page is not None:
        now = datetime.now(UTC)
        told = session.read(
            lambda tx: read_report(
                tx,
                since=wanted.since or now - timedelta(days=DEFAULT_DAYS),
                until=wanted.until or now,
                provider=provider,
                timing=session.settings.timing,
            )
        )
        write_report(page, told)
    critical = session.read(service.open_critical)
    _tell(compared, plan, dry_run=dry_run, critical=critical, as_json=as_json)
    end_as_found(session)


def _walk(session: Session, wanted: Range, *, dry_run: bool, quiet: bool) -> tuple[Compared, list[Row]]:
    """Every payment of the range, a page and a transaction at a time."""
    timing = session.settings.timing
    total = session.read(lambda tx: service.count(tx, wanted))
    compared, plan, at = Compared(), [], Place()
    with Progress(console=Console(stderr=True), disable=quiet or total <= PAGE, transient=True) as progress:
        bar = progress.add_task("comparing", total=total)
        while payments := session.read(lambda tx, at=at: service.page(tx, wanted, at, limit=PAGE)):  # type: ignore[misc]
            if dry_run:
                plan += session.read(lambda tx, rows=payments: service.preview_page(tx, rows, timing=timing))  # type: ignore[misc]
                compared += Compared(len(payments))
            else:
                compared += session.reconcile(lambda tx, rows=payments: service.compare_page(tx, rows, timing=timing))  # type: ignore[misc]
            at = Place(payments[-1]["merchant_id"], payments[-1]["payment_id"])
            progress.advance(bar, len(payments))
    return compared, plan


def _walk_provider(session: Session, *, dry_run: bool) -> Compared:
    """The provider's book where it is about no payment: lines that are nobody's, and payouts, a page at a time."""
    timing = session.settings.timing
    compared = Compared()
    if dry_run:
        return compared
    changed = True
    while changed:
        found = session.reconcile(
            lambda tx: provider_book.compare_lines(tx, limit=PAGE, timing=timing, detected_by="operator")
        )
        changed = found["opened"] + found["closed"] > 0
        compared += Compared(0, found["opened"], found["closed"])
    at: PayoutPlace | None = PayoutPlace()
    while at is not None:
        opened, closed, at = session.reconcile(
            lambda tx, at=at: provider_book.compare_payouts(tx, at, limit=PAGE, timing=timing)  # type: ignore[misc]
        )
        compared += Compared(0, opened, closed)
    return compared


def _plan_provider(session: Session, dry_run: bool) -> list[Row]:
    """The same, looked at only."""
    return session.read(lambda tx: provider_book.preview(tx, timing=session.settings.timing)) if dry_run else []


def _walk_ledger(session: Session, *, dry_run: bool, quiet: bool) -> tuple[int, list[Row]]:
    """The whole ledger against itself, likewise."""
    opened = 0
    plan: list[Row] = []
    at: LedgerPlace | None = LedgerPlace()
    with Progress(console=Console(stderr=True), disable=quiet, transient=True) as progress:
        # how many entries there are would take as long to count; the bar says that it goes on
        bar = progress.add_task("comparing the ledger", total=None, visible=False)
        while at is not None:
            if dry_run:
                rows, following = session.read(lambda tx, at=at: preview_ledger(tx, at, limit=LEDGER_PAGE))  # type: ignore[misc]
                plan += rows
            else:
                found, following = session.reconcile(
                    lambda tx, at=at: compare_ledger(tx, at, limit=LEDGER_PAGE, detected_by="operator")  # type: ignore[misc]
                )
                opened += found
            # two parts, so a small ledger is two pages
            progress.update(bar, visible=following is not None and following.part == at.part, advance=LEDGER_PAGE)
            at = following
    return opened, plan


def _tell(compared: Compared, plan: list[Row], *, dry_run: bool, critical: int, as_json: bool) -> None:
    if dry_run:
        would = Counter(row["would"] for row in plan)
        compared = Compared(compared.payments, would["open"], would["close"])
    if as_json:
        told: dict[str, Any] = {
            "payments": compared.payments, "opened": compared.opened, "closed": compared.closed,
            "open_critical": critical, "dry_run": dry_run,
        }  # fmt: skip
        print_json(told | ({"plan": plan} if dry_run else {}))
        return
    if plan:
        print_rows([_priced(row, "expected", "actual") for row in plan], PLAN, empty="")
    verb = "would open" if dry_run else "opened"
    click.echo(f"{compared.payments} payments compared, {verb} {compared.opened}, closed {compared.closed}")
    if critical:
        click.echo(f"critical discrepancies open: {critical}")


@reconcile.command()
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="The day (UTC); today unless given.")
@json_option
@with_session
def balance(session: Session, day: datetime | None, as_json: bool) -> None:
    """Prove a day's balance: what the provider's stored lines come to at its end and what our books hold for them; and
    what the provider itself said on that day, if it was asked. Exit 1 unless all agree.
    """
    since = (day or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    until = since + timedelta(days=1)
    lines, proofs = session.read(
        lambda tx: (service.balance_of_lines(tx, until=until), service.proofs(tx, since=since, until=until))
    )
    lines = [row | {"day": since.date(), "agrees": row["lines"] == row["books"]} for row in lines]
    told = [
        {"day": since.date(), "currency": currency, "agrees": sums["expected"] == sums["actual"]}
        | {name: proof[name] for name in ("provider", "account", "status", "finished_at")}
        | sums
        for proof in proofs
        for currency, sums in proof["found"].items()
    ]
    if as_json:
        print_json({"lines": lines, "told": told})
    else:
        print_rows([_priced(row, "lines", "books") for row in lines], BALANCES, empty="no lines are dated so early")
        print_rows(told, PROOFS, empty=f"the provider was not asked for its balance on {since.date()}")
    end_as_found(session, agrees=all(row["agrees"] for row in lines + told))


@reconcile.command()
@click.argument("ref", metavar="PAYOUT")
@json_option
@with_session
def payout(session: Session, ref: str, as_json: bool) -> None:
    """Show a payout of the provider (po_...) and what it is made of.

    Exit 1 unless its lines are its amount: also when they are not known, as those of a manual payout never are.
    """
    found, lines = session.read(lambda tx: service.payout(tx, ref))
    agrees = found["lines_sum"] == found["amount"] if found["lines_read_at"] else None
    if as_json:
        print_json(found | {"agrees": agrees, "by_kind": lines})
    else:
        told = {"agrees": f"not known for {age(found['not_known_for_s'])}" if agrees is None else agrees}
        facts = {name: found[name] for name in found if name not in ("recorded_at", "not_known_for_s")}
        print_facts(_priced(facts, "amount", "lines_sum") | told)
        print_rows([_priced(line, "gross", "fee", "net") for line in lines], LINES, empty="its lines are not known")
    end_as_found(session, agrees=agrees is True)


def _priced(row: Row, *names: str) -> Row:
    if not row["currency"]:
        return row
    return row | {name: money(row[name], row["currency"], row["exponent"]) for name in names}


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None
