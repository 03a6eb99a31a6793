"""Tells whether the database is the one this release was made for, and how its queue is doing."""

from __future__ import annotations

from app.db import Tx
from app.db.pool import Row
from app.db.scripts import migrations, repeatables

# A backlog beyond this is reported as this: counting more would cost what the workers need.
COUNTED_ROWS = 20_000
# Steps in an index per look at the queue's age: twice what several hundred merchants have, for two lanes.
COUNTED_MERCHANTS = 2_000


def pending_migrations(tx: Tx) -> list[str]:
    """Names of the files of sql/ that this database has not seen in their present form."""
    known = {row["name"]: row["sha256"] for row in tx.all("schema_migrations.recorded")}
    return [script.name for script in (*migrations(), *repeatables()) if known.get(script.name) != script.sha256]


def backlog(tx: Tx) -> list[Row]:
    """Per handler: pending and dead deliveries and the age of the oldest pending one, each count bounded."""
    return tx.all("health.backlog", most=COUNTED_ROWS)


def unknown_outcomes(tx: Tx) -> Row:
    """Payments whose outcome is unknown: how many, and for how many seconds the oldest."""
    row = tx.one("health.unknown_outcomes", most=COUNTED_ROWS)
    assert row is not None, "an aggregate always returns a row"
    return row


def open_discrepancies(tx: Tx) -> list[Row]:
    """By type and severity: how many are open, past their deadline, and not acknowledged in time, bounded."""
    return tx.all("health.discrepancies", most=COUNTED_ROWS)


def debts(tx: Tx) -> list[Row]:
    """By currency: how many merchants have less than nothing available, and what they owe us, in minor units."""
    return tx.all("health.debts", most=COUNTED_ROWS)


def oldest_runnable(tx: Tx) -> float:
    """Seconds for which some delivery could have run and did not; 0.0 when none waits."""
    row = tx.one("health.oldest_runnable", most=COUNTED_MERCHANTS)
    assert row is not None, "a function always returns a row"
    return float(row["seconds"])


def unsafe_settings(tx: Tx) -> list[str]:
    """Names of the server's settings with which a crash could lose what was committed."""
    return [row["name"] for row in tx.all("health.unsafe_settings")]
