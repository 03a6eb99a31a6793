"""A worker is killed with kill -9 at every named point of submit; another takes over, at production timing."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.services.checks import Violation
from cli.dev.postgres import Cluster
from tests import factories
from tests.jobs.dying_worker import POINTS
from tests.jobs.processes import until, world

# From the kill to the end of the payment, at production timing.
PROMISED_SECONDS = 60
# What a lost worker leaves: the answer is known, or not; the state a person would see meanwhile.
SEEN_AFTER_THE_KILL = {
    "before_claim": "initiated",
    "after_claim": "submitting",
    "after_create": "submitting",
    "after_ref_commit": "submitting",
    "after_confirm": "submitting",
    "before_record": "submitting",
    "after_record": "confirmed",
}
# Where a claim was lost: what the provider says then is that nothing was taken, or that all was.
BEFORE_THE_CHARGE = ("after_claim", "after_create", "after_ref_commit")
AFTER_THE_CHARGE = ("after_confirm", "before_record")


@dataclass
class Survived:
    """What was seen of one payment whose worker was killed."""

    exit_code: int
    seen: str
    end: dict[str, Any]
    seconds: float
    summary: dict[str, Any]
    topics: list[str]
    submit: dict[str, Any]
    credits: int
    violations: list[Violation]
    log: str


@pytest.fixture(scope="module")
def survived(
    cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Survived]]:
    """Every crash point, all at once: each has a database, a sandbox and workers of its own."""
    directory = tmp_path_factory.mktemp("crash_points")
    with ThreadPoolExecutor(len(POINTS)) as pool:
        yield dict(
            zip(POINTS, pool.map(lambda point: crash(cluster, template, directory / point, point), POINTS), strict=True)
        )


def crash(cluster: Cluster, template: str, directory: Path, point: str) -> Survived:
    with world(cluster, template, directory, "--available-after", "2", time_scale=1.0) as here:
        # else the list of what changed may tell the outcome before anybody misses it
        here.without_runs_of_the_clock()
        payment = factories.payment(here.connection, method_token="pm_card_visa")
        exit_code = here.dying_worker(point).wait(timeout=60)
        killed_at = time.monotonic()
        seen = here.state(payment)
        here.worker()
        until(
            lambda: here.state(payment) in ("settled", "failed", "canceled") and not here.pending(),
            lambda: f"{point}: {here.state(payment)}, {here.pending()}\n{here.tail()}",
            seconds=PROMISED_SECONDS + 30,
        )
        return Survived(
            exit_code,
            seen,
            here.one("select * from payments where id = %s", payment["id"]),
            time.monotonic() - killed_at,
            here.sandbox.ledger(payment_id=str(payment["id"]))["summary"],
            [
                row["topic"]
                for row in here.all("select topic from events where payment_version is not null order by id")
            ],
            here.one("select * from deliveries where handler = 'submit_payment'"),
            here.one("select count(*) as n from ledger_entries where kind = 'payment_credited'")["n"],
            here.violations(),
            here.tail(),
        )


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_there_leaves_one_charge_and_a_settled_payment_within_a_minute(
    survived: dict[str, Survived], point: str
) -> None:
    found = survived[point]
    assert found.exit_code == -signal.SIGKILL, found.log
    assert found.seen == SEEN_AFTER_THE_KILL[point]
    assert found.end["state"] == "settled"
    assert found.seconds < PROMISED_SECONDS
    assert (found.summary["payment_intents"], found.summary["captured_charges"]) == (1, 1)
    assert found.violations == []


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_spends_no_failure_and_its_payment_is_told_in_order(survived: dict[str, Survived], point: str) -> None:
    found = survived[point]
    assert (found.submit["status"], found.submit["failures"]) == ("done", 0)
    assert found.submit["rescues"] == (0 if point == "after_record" else 1)
    spine = [
        topic
        for topic in found.topics
        if topic in ("payment.initiated", "payment.provider_submitted", "payment.confirmed", "payment.settled")
    ]
    assert spine == [
        "payment.initiated",
        "payment.provider_submitted",
        "payment.confirmed",
        "payment.settled",
    ]


@pytest.mark.parametrize("point", BEFORE_THE_CHARGE)
def test_scenario_05_what_was_claimed_and_not_charged_is_unknown_and_then_submitted_again(
    survived: dict[str, Survived], point: str
) -> None:
    assert asked(survived[point]) == ["payment.outcome_unknown", "payment.resubmitted"]
    assert survived[point].credits == 1


@pytest.mark.parametrize("point", AFTER_THE_CHARGE)
def test_scenario_06_what_was_charged_and_not_recorded_is_found_and_credited_once(
    survived: dict[str, Survived], point: str
) -> None:
    assert asked(survived[point]) == ["payment.outcome_unknown"]
    assert survived[point].credits == 1


def asked(found: Survived) -> list[str]:
    """How the payment's outcome was missed, and what became of it."""
    return [topic for topic in found.topics if topic in ("payment.outcome_unknown", "payment.resubmitted")]
