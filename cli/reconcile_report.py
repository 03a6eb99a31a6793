"""The reconciliation report: one self-contained HTML page, for people; it reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jinja2

from app.config import Timing
from app.db import Tx
from app.db.pool import Row
from app.model import public_id
from app.services import discrepancies as service
from cli.render import age, money

# What a report shows when no range is given: as far back as a night looks.
DEFAULT_DAYS = 90
# A page that a person reads; the command line lists the rest.
DISCREPANCIES_SHOWN = 500
SEVERITIES = ("critical", "high", "medium", "low")
BUCKETS = ("0-1 d", "1-3 d", "3-7 d", "7-30 d", "over 30 d")
# What was captured is one of these; they are added in no other order.
PARTS = ("matched", "outstanding", "unmatched")
# The drawing, in pixels.
WIDTH, BAR, GAP, LABEL = 760, 16, 6, 88


def read_report(tx: Tx, *, since: datetime, until: datetime, provider: str | None, timing: Timing) -> dict[str, Any]:
    """Everything the page shows, as rows: sums by day and provider, what is open by age, and each open one."""
    rows = service.find(tx, service.Filter(), limit=DISCREPANCIES_SHOWN)
    return {
        "since": since, "until": until, "provider": provider,
        "days": service.days(tx, since=since, until=until, provider=provider, timing=timing),
        "nobodys": service.nobodys_days(tx, since=since, until=until, provider=provider),
        "ages": service.ages(tx), "open": rows,
    }  # fmt: skip


def write_report(path: Path, told: dict[str, Any]) -> None:
    """Write the page to `path`: inline CSS and SVG, nothing loaded from anywhere, everything escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("reconcile_report.html").render(
        told,
        made_at=datetime.now(UTC),
        charts=[_chart(*group) for group in _by_book(told["days"])],
        totals=[_total(*group) for group in _by_book(told["days"])],
        per_day=[_in_money(row, "captured", *PARTS) for row in told["days"]],
        lines=[_in_money(row, "unmatched") for row in told["nobodys"]],
        table=_ages(told["ages"]),
        buckets=BUCKETS,
        rows=[_shown(row) for row in told["open"]],
    )
    path.write_text(page, encoding="utf-8")


def _by_book(days: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """The days of each provider and currency: sums of two currencies are never added."""
    books: dict[tuple[str, str], list[Row]] = {}
    for row in days:
        books.setdefault((row["provider"], row["currency"]), []).append(row)
    return [(provider, currency, rows) for (provider, currency), rows in sorted(books.items())]


def _total(provider: str, currency: str, rows: Sequence[Row]) -> Row:
    exponent = rows[0]["exponent"]
    sums = {name: sum(row[name] for row in rows) for name in ("payments", "unmatched_payments")}
    amounts = {name: money(sum(row[name] for row in rows), currency, exponent) for name in ("captured", *PARTS)}
    return {"provider": provider, "currency": currency} | sums | amounts


def _in_money(row: Row, *names: str) -> Row:
    return row | {name: money(row[name], row["currency"], row["exponent"]) for name in names}


def _chart(provider: str, currency: str, rows: Sequence[Row]) -> dict[str, Any]:
    """A bar for each day: its parts one after the other, by integers alone; at least a pixel for what is not zero."""
    most = max(row["captured"] for row in rows) or 1
    room = WIDTH - LABEL - 150
    bars = [
        {
            "y": place * (BAR + GAP),
            "day": _day(row["day"]),
            **{name: _pixels(row[name], most, room) for name in PARTS},
            "text": money(row["captured"], currency, row["exponent"]),
            "title": f"{row['payments']} payments, {row['unmatched_payments']} of them do not meet: "
            f"{money(row['unmatched'], currency, row['exponent'])}",
        }
        for place, row in enumerate(rows)
    ]
    return {
        "provider": provider, "currency": currency, "bars": bars, "width": WIDTH, "label": LABEL, "bar": BAR,
        "height": max(len(rows), 1) * (BAR + GAP),
    }  # fmt: skip


def _pixels(amount: int, most: int, room: int) -> int:
    return max(1, amount * room // most) if amount > 0 else 0


def _day(day: date) -> str:
    return day.isoformat()


def _ages(ages: Sequence[Row]) -> list[dict[str, Any]]:
    open_by = {(row["severity"], row["bucket"]): row for row in ages}
    table = []
    for severity in SEVERITIES:
        cells = [open_by.get((severity, bucket)) for bucket in BUCKETS]
        overdue = sum(cell["overdue"] for cell in cells if cell)
        table.append(
            {"severity": severity, "cells": [cell["open"] if cell else 0 for cell in cells], "overdue": overdue}
        )
    return table


def _shown(row: Row) -> Row:
    currency = row["currency"]
    amounts = {
        name: money(row[name], currency, row["exponent"]) if currency else row[name]
        for name in ("expected", "actual", "delta")
    }
    payment = row["payment_id"] and public_id.show(public_id.PAYMENT, row["payment_id"])
    subject = payment or row["subject"]
    return (
        row
        | amounts
        | {
            "subject": subject,
            "age": age(row["age_s"]),
            "discrepancy": public_id.show(public_id.DISCREPANCY, row["id"]),
        }
    )
