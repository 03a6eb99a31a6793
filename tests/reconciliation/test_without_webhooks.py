"""The webhook receiver is off for a day: a real worker asks by its own clock, and everything converges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from app.config import SANDBOX_API_KEY
from cli.dev.postgres import Cluster
from tests import factories
from tests.jobs.processes import World, until, world

# An hour is 18 s, and a lease of 150 ms outlasts a busy moment.
TIME_SCALE = 0.005
HOUR, HOURS = 3_600, 24
# Two hours of ours: what happened right after one reading is found by the next.
PATIENCE = 3 * HOUR * TIME_SCALE + 30


@pytest.fixture
def here(cluster: Cluster, template: str, tmp_path: Path) -> Iterator[World]:
    """A worker and a provider; no gateway runs, so no webhook is ever heard."""
    with world(cluster, template, tmp_path, time_scale=TIME_SCALE) as here:
        # its clock is moved by whole hours
        here.sandbox.control("POST", "timing", authorization_for=7 * HOURS * HOUR)
        here.worker()
        yield here


def paid(here: World, state: str = "settled", **columns: Any) -> dict[str, Any]:
    p = factories.payment(here.connection, method_token="pm_card_visa", **columns)
    until(lambda: here.state(p) == state, lambda: f"{here.state(p)}\n{here.tail()}", seconds=PATIENCE)
    return here.one("select * from payments where id = %s", p["id"])


def stripe(here: World, path: str, **data: Any) -> None:
    """What somebody does in the provider's dashboard."""
    headers = {"Authorization": f"Bearer {SANDBOX_API_KEY}"}
    answer = requests.post(f"{here.sandbox.url}/v1/{path}", data=data, headers=headers, timeout=10)
    assert answer.ok, answer.text


def a_day_passes(here: World, happens: dict[int, Any]) -> None:
    """At the provider, hour by hour of its own clock."""
    for hour in range(HOURS):
        here.sandbox.advance(HOUR)
        happens.get(hour, lambda: None)()


def forgotten(here: World, p: dict[str, Any]) -> None:
    """The wake-up of an open payment is lost: the worker finds that nobody is going to compare it."""
    due = "select from reconcile_due where payment_id = %s"
    assert here.all(due, p["id"])
    here.connection.execute("delete from reconcile_due where payment_id = %s", [p["id"]])
    until(lambda: here.all(due, p["id"]), here.tail, seconds=PATIENCE)


def test_scenario_21_a_day_without_webhooks_converges(here: World) -> None:
    refunded, lost, won = paid(here), paid(here), paid(here)
    captured, large = paid(here, "authorized", capture_method="manual"), paid(here, amount=50_000)
    forgotten(here, captured)
    disputes: dict[str, str] = {}

    def disputed(name: str, p: dict[str, Any]) -> None:
        disputes[name] = here.sandbox.control("POST", f"charges/{p['latest_charge_ref']}/dispute")["id"]

    a_day_passes(here, {
        1: lambda: stripe(here, "refunds", payment_intent=refunded["provider_ref"]),
        2: lambda: disputed("lost", lost),
        3: lambda: disputed("won", won),
        9: lambda: here.sandbox.control("POST", f"disputes/{disputes['lost']}/lose"),
        17: lambda: here.sandbox.control("POST", f"disputes/{disputes['won']}/win"),
        20: lambda: stripe(here, f"payment_intents/{captured['provider_ref']}/capture"),
        23: lambda: here.sandbox.control("POST", "payouts"),
    })  # fmt: skip
    ends = {refunded["id"]: "refunded", lost["id"]: "charged_back"}
    ends |= {p["id"]: "settled" for p in (won, captured, large)}
    until(
        lambda: (
            {row["id"]: row["state"] for row in here.all("select id, state from payments")} == ends
            and here.all("select from payouts where status = 'paid' and lines_read_at is not null")
            and not here.pending()
        ),
        lambda: f"{here.states()} {here.pending()} {here.all('select status from payouts')}\n{here.tail()}",
        seconds=PATIENCE,
    )
    assert here.all("select distinct received_by from webhooks") == [{"received_by": "poll"}]
    assert here.violations() == []
    runs = "select distinct kind from reconciliation_runs where status = 'finished' order by kind"
    assert [row["kind"] for row in here.all(runs)] == ["balance", "changes", "ledger", "nightly", "payout"]
    # a proof of balance that fell into the day is made again until it agrees; what stays is that no webhook ever came
    still_open = "select type, subject, expected, actual from discrepancies where closed_at is null"
    until(
        lambda: {row["type"] for row in here.all(still_open)} == {"webhook_missing"},
        lambda: here.all(still_open),
        seconds=PATIENCE,
    )
