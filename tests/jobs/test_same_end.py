"""One queue, three ways to drain it: ours with carrying on and off, and the unmodified `procrastinate worker`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest

from cli.dev.postgres import Cluster
from tests import factories
from tests.jobs.processes import DRAIN_SECONDS, STOCK, World, until, world

PAYMENTS = 150
TOKENS = (
    "pm_card_bypassPending",
    "pm_card_visa",
    "pm_card_mastercard",
    "pm_card_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_threeDSecure2Required",
)
# A fifth of production: no answer may come late, or how busy the machine is decides which questions are asked.
TIME_SCALE = 0.2
WAYS = ("carrying", "one by one", "stock")
CARRYING = {"carrying": "on", "one by one": "off"}


@pytest.fixture(scope="module")
def ends(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each way left behind, all drained side by side."""
    directory = tmp_path_factory.mktemp("same_end")
    with ThreadPoolExecutor(len(WAYS)) as pool:
        drained = pool.map(lambda way: drain(cluster, template, directory / way.replace(" ", "_"), way), WAYS)
        return dict(zip(WAYS, drained, strict=True))


def drain(cluster: Cluster, template: str, directory: Path, way: str) -> dict[str, Any]:
    # available as soon as it is there: who looks earlier would be told of the same money twice
    with world(cluster, template, directory, "--available-after", "0", time_scale=TIME_SCALE) as here:
        fill(here)
        worker = (
            here.start(*STOCK, "--concurrency=8") if way == "stock" else here.worker(POSTBOX_CARRYING=CARRYING[way])
        )
        until(lambda: is_quiet(here), lambda: story(here), seconds=180)
        worker.terminate()
        assert worker.wait(DRAIN_SECONDS) == 0, story(here)
        return {
            "payments": payments(here),
            "deliveries": here.all(
                "select handler, status, count(*) as n from deliveries where handler <> 'observe_payment'"
                " group by 1, 2 order by 1, 2"
            ),
            "failures": here.all("select * from delivery_failures"),
            "jobs_over": here.all("select status from procrastinate_jobs where status not in ('todo', 'doing')"),
            "captured": here.sandbox.ledger()["summary"]["captured"],
            "violations": here.violations(),
            "groups": groups(here),
        }


def fill(here: World) -> None:
    """The same payments in every world: two merchants, every kind of card."""
    here.without_runs_of_the_clock()
    merchants = [factories.merchant(here.connection, name)["id"] for name in ("Chairs", "Tables")]
    for number in range(PAYMENTS):
        factories.payment(
            here.connection,
            merchant_id=merchants[number % 7 == 0],
            id=uuid5(NAMESPACE_OID, f"same-end-{number}"),
            reference=str(number),
            method_token=TOKENS[number % len(TOKENS)],
        )


def is_quiet(here: World) -> bool:
    open_ones = ("initiated", "submitting", "outcome_unknown", "submitted", "authorized", "confirmed")
    return not here.pending() and not set(here.states()) & set(open_ones)


def groups(here: World) -> list[int]:
    """How many deliveries each committed group held, by the worker's own log."""
    lines = [json.loads(line) for line in here.log.read_text().splitlines() if line.startswith("{")]
    return [line["deliveries"] for line in lines if line["message"] == "group"]


def story(here: World) -> str:
    return f"{here.states()} {here.pending()}\n{here.tail()}"


def payments(here: World) -> dict[str, Any]:
    """Each payment's end, story and audit, without what only the clock decides: when it was observed or missed."""
    rows = here.all(
        """
        select p.reference, p.state, p.amount_captured, p.failure_code, p.next_action_type,
          (select array_agg(e.topic order by e.payment_version, e.id) from events e
           where e.payment_id = p.id and e.topic <> 'payment.observation_due' and e.topic not like 'discrepancy.%'
          ) as topics,
          (select array_agg(a.action order by a.payment_version) from audit_log a
           where a.payment_id = p.id and a.entity_type = 'payment' and a.action <> 'payment.observed') as audit
        from payments p
        """
    )
    return {row.pop("reference"): row for row in rows}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_drains_the_queue_and_breaks_nothing(ends: dict[str, dict[str, Any]], way: str) -> None:
    assert len(ends[way]["payments"]) == PAYMENTS
    assert (ends[way]["violations"], ends[way]["failures"], ends[way]["jobs_over"]) == ([], [], [])
    assert {row["status"] for row in ends[way]["deliveries"]} == {"done"}


def test_only_the_carrying_way_runs_more_than_one_at_once(ends: dict[str, dict[str, Any]]) -> None:
    assert max(ends["carrying"]["groups"]) > 1
    assert max(ends["one by one"]["groups"]) == 1


@pytest.mark.parametrize("way", WAYS[1:])
def test_every_way_ends_in_the_same_state(ends: dict[str, dict[str, Any]], way: str) -> None:
    for what in ("payments", "deliveries", "captured"):
        assert ends[way][what] == ends["carrying"][what], what
