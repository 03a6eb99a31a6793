"""What an operator looks at first: what runs, waits and died, what is unknown, and whether a person is needed."""

from __future__ import annotations

from typing import Any

from app.db.pool import Row, Tx
from app.services import pauses

# The oldest runnable delivery is a warning after this many seconds, an unknown outcome after these.
RUNNABLE_SECONDS = 60.0
UNKNOWN_SECONDS = 900.0


def overview(tx: Tx) -> dict[str, Any]:
    """Everything `postbox status` shows; `attention` names what needs a person, and is empty when all is well."""
    found: dict[str, Any] = {
        "handlers": tx.all("status.handlers"),
        "payments": tx.all("status.payments"),
        "unknown_dispute_statuses": tx.all("status.unknown_dispute_statuses"),
        "circuits": tx.all("status.circuits"),
        "pauses": pauses.current(tx),
        "discrepancies": tx.all("status.discrepancies"),
        "sweeps": tx.all("status.sweeps"),
        "lately": tx.one("status.lately"),
    }
    return {"attention": attention(found)} | found


def attention(found: dict[str, Any]) -> list[str]:
    """One line for each thing that does not get better by itself."""
    handlers: list[Row] = found["handlers"]
    lines = [f"dead letters of {row['handler']}: {row['dead']}" for row in handlers if row["dead"]]
    lines += [
        f"{row['handler']} has had a runnable delivery for {row['oldest_runnable_s']:.0f} s"
        for row in handlers
        if (row["oldest_runnable_s"] or 0) > RUNNABLE_SECONDS
    ]
    lines += [
        f"payments with an unknown outcome: {row['payments']}, the oldest for {row['oldest_s']:.0f} s"
        for row in found["payments"]
        if row["state"] == "outcome_unknown" and row["oldest_s"] > UNKNOWN_SECONDS
    ]
    lines += [
        f"disputes with a status of {row['provider']} that is not known here, {row['provider_status']}:"
        f" {row['disputes']}"
        for row in found["unknown_dispute_statuses"]
    ]
    lines += [
        f"the circuit of {row['provider']}/{row['account']} is open: {row['reason']}"
        for row in found["circuits"]
        if row["state"] == "open"
    ]
    lines += [
        f"{row['severity']} discrepancies: {row['open']}, past their deadline: {row['overdue']},"
        f" not acknowledged in time: {row['unacknowledged']}"
        for row in found["discrepancies"]
        if row["severity"] == "critical" or row["overdue"] or row["unacknowledged"]
    ]
    return lines
