"""Thousands of payments, twelve kinds of damage: each is flagged with its type, in time, and nothing else is.

    POSTBOX_CAMPAIGN=10000 bin/test tests/reconciliation/test_campaign.py -s -n 0

runs it at full size; without the variable it is a few hundred payments. The injector keeps its own list: what it did to
which payment, when, and from when that counts. Everything else is the product's: an ordinary worker and its clock.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.dev.postgres import Cluster
from tests import factories
from tests.jobs.processes import World, until, world
from tests.reconciliation.damages import DAMAGES
from tests.reconciliation.population import populate

PAYMENTS = int(os.environ.get("POSTBOX_CAMPAIGN", "300"))
# Each kind of damage is done so often.
TIMES = max(1, PAYMENTS // 500)
# Thousands of deliveries take a while to be worked off, which must not look like silence: their waits are longer.
SCALE = 0.01 if PAYMENTS <= 1_000 else 0.05
# Evidence to flag, and the end of a silence to flag; the issue's own numbers.
EVIDENCE_P95_SECONDS = 5.0
SILENCE_SECONDS = 60.0
PATIENCE = 120 + PAYMENTS / 20
OPEN = "select type, subject, first_seen_at from discrepancies where closed_at is null"


@dataclass(frozen=True)
class Injected:
    """One line of the injector's list."""

    kind: str
    subject: str
    counts_from: float

    @property
    def type(self) -> str:
        return DAMAGES[self.kind].type


@pytest.fixture
def here(cluster: Cluster, template: str, tmp_path: Path) -> Iterator[World]:
    """A population that all meets, and an ordinary worker; the provider is not asked, it knows none of them."""
    with world(cluster, template, tmp_path, time_scale=SCALE) as here:
        with factories.acting(here.connection, "operator"):
            here.connection.execute("insert into pauses values ('provider', 'stripe', 'a campaign', 'ann')")
        populate(here.connection, PAYMENTS)
        here.worker()
        until(lambda: at_rest(here), here.pending, seconds=PATIENCE)
        yield here


def at_rest(here: World) -> bool:
    """Nothing is left to book or to compare."""
    left = here.one(
        "select (select count(*) from deliveries where status = 'pending' and lane = 'local')"
        " + (select count(*) from reconcile_due where due_at < clock_timestamp() + interval '1 second') as left"
    )
    return bool(left["left"] == 0)


def inject(here: World) -> list[Injected]:
    merchants = [row["merchant_id"] for row in here.all("select distinct merchant_id from payments")]
    done = []
    for number in range(TIMES):
        for kind, damage in DAMAGES.items():
            subject = damage.make(here.connection, merchants[number % len(merchants)])
            done.append(Injected(kind, subject, time.time() + damage.wait * SCALE))
    return done


def latencies(here: World, injected: list[Injected]) -> dict[str, list[float]]:
    """Seconds from the moment that counts to the flag, by kind."""
    seen = {(row["type"], row["subject"]): row["first_seen_at"] for row in here.all("select * from discrepancies")}
    found: dict[str, list[float]] = {}
    for one in injected:
        flagged: datetime = seen[one.type, one.subject]
        found.setdefault(one.kind, []).append(flagged.astimezone(UTC).timestamp() - one.counts_from)
    return found


def open_now(here: World) -> set[tuple[str, str]]:
    return {(row["type"], row["subject"]) for row in here.all(OPEN)}


def tell(told: dict[str, list[float]]) -> None:
    for kind, seconds in told.items():
        worst = max(seconds)
        print(f"  {kind:36} {len(seconds):4} flagged, median {statistics.median(seconds):6.2f} s, worst {worst:6.2f} s")


def test_every_damage_is_flagged_with_its_type_and_closes_when_it_is_repaired(here: World) -> None:
    assert here.all("select * from discrepancies") == [], "the clean run flags nothing"
    injected = inject(here)
    wanted = {(one.type, one.subject) for one in injected}
    until(lambda: open_now(here) >= wanted, lambda: sorted(wanted - open_now(here))[:20], seconds=PATIENCE)
    assert open_now(here) == wanted
    told = latencies(here, injected)
    tell(told)
    at_once = sorted(s for kind, seconds in told.items() if DAMAGES[kind].wait == 0 for s in seconds)
    assert at_once[int(len(at_once) * 0.95) - 1] < EVIDENCE_P95_SECONDS
    assert max(max(seconds) for seconds in told.values()) < SILENCE_SECONDS
    repaired(here, injected)


def repaired(here: World, injected: list[Injected]) -> None:
    """What can be repaired is, and is closed without anybody's help; the rest stays open."""
    mended = {(one.type, one.subject) for one in injected if DAMAGES[one.kind].repair}
    for one in injected:
        repair = DAMAGES[one.kind].repair
        if repair is not None:
            repair(here.connection, one.subject)
    until(lambda: not open_now(here) & mended, lambda: sorted(open_now(here) & mended)[:20], seconds=PATIENCE)
    assert open_now(here) >= {(one.type, one.subject) for one in injected} - mended
    closed = here.all("select distinct status, resolution_code from discrepancies where closed_at is not null")
    assert closed == [{"status": "auto_resolved", "resolution_code": "met"}]
