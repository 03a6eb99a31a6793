"""Thousands of payments, twelve kinds of damage: each is flagged with its type, in time, and nothing else is.

`bin/campaign damage` runs it on ten thousand; without the variable it is a few hundred payments. The injector keeps its
own list: what it did to which payment, and how long that has to count. Everything else is the product's: an ordinary
worker, its clock, and the gateway that hears the provider's webhooks.
"""

from __future__ import annotations

import math
import os
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from app.config import Timing
from cli.dev.postgres import Cluster
from tests import factories
from tests.e2e.gateway_process import start_gateway
from tests.jobs.processes import World, until, world
from tests.reconciliation.damages import DAMAGES, Place
from tests.reconciliation.population import populate

PAYMENTS = int(os.environ.get("POSTBOX_CAMPAIGN", "300"))
# Each kind of damage is done so often.
TIMES = max(1, PAYMENTS // 500)
# Thousands of deliveries take a while to be worked off, which must not look like silence: their waits are longer.
SCALE = 0.01 if PAYMENTS <= 1_000 else 0.05
# Evidence to flag, and the end of a silence to flag, as agreed. Between two passes who compares waits for SCALE of what
# production waits: the rest of it is put on top of what is measured.
EVIDENCE_P95_SECONDS = 5.0
SILENCE_SECONDS = 60.0
COMPARING = (1 - SCALE) * Timing().sweep_reconcile
ARMING = COMPARING + (1 - SCALE) * Timing().sweep_clock
PATIENCE = 120 + PAYMENTS / 20
FLAGGED = "select type, subject, first_seen_at, closed_at is null as is_open from discrepancies"


@dataclass(frozen=True)
class Injected:
    """One line of the injector's list."""

    kind: str
    subject: str

    @property
    def flag(self) -> tuple[str, str]:
        return DAMAGES[self.kind].type, self.subject


@pytest.fixture
def place(cluster: Cluster, template: str, tmp_path: Path) -> Iterator[Place]:
    """A population that all meets, an ordinary worker, and a provider that knows what is made from now on."""
    with world(cluster, template, tmp_path, time_scale=SCALE) as here:
        # the provider has never held the population's money
        here.connection.execute("delete from subscriptions where handler = 'prove_balance'")
        populate(here.connection, PAYMENTS)
        gateway = start_gateway(here)
        here.worker()
        until(lambda: at_rest(here), here.pending, seconds=PATIENCE)
        yield Place(here, gateway)


def at_rest(here: World) -> bool:
    """Nothing is left to book or to compare."""
    left = here.one(
        "select (select count(*) from deliveries where status = 'pending' and lane = 'local')"
        " + (select count(*) from reconcile_due where due_at < clock_timestamp() + interval '1 second') as left"
    )
    return bool(left["left"] == 0)


def inject(place: Place) -> list[Injected]:
    """Everything, and each kind as often as any other."""
    done = [Injected(kind, subject) for kind, damage in DAMAGES.items() for subject in damage.make(place, TIMES)]
    assert Counter(one.kind for one in done) == dict.fromkeys(DAMAGES, TIMES)
    return done


def read_changes(place: Place) -> None:
    """Somebody asks for what the provider's lists say now, instead of waiting for the hour."""
    with factories.acting(place.here.connection, "reconciler"):
        place.here.connection.execute(
            "insert into reconciliation_runs (merchant_id, kind, provider, account, subject, asked_by)"
            " select merchant_id, 'changes', provider, account, %s, 'ann' from provider_accounts"
            " where account = 'default'",
            [str(uuid4())],
        )


def latencies(here: World, injected: list[Injected]) -> dict[str, list[float]]:
    """Seconds from the moment that counts to the flag, by kind."""
    first: dict[tuple[str, str], datetime] = {}
    for row in here.all(FLAGGED + " order by first_seen_at"):
        first.setdefault((row["type"], row["subject"]), row["first_seen_at"])
    found: dict[str, list[float]] = {}
    for one in injected:
        damage = DAMAGES[one.kind]
        stored = here.one(damage.evidence, one.subject.rsplit("/", 1)[1])["at"]
        counts_from = stored + timedelta(seconds=damage.wait * SCALE)
        found.setdefault(one.kind, []).append((first[one.flag] - counts_from).total_seconds())
    return found


def flagged(here: World, *, only_open: bool = False) -> set[tuple[str, str]]:
    return {(row["type"], row["subject"]) for row in here.all(FLAGGED) if row["is_open"] or not only_open}


def tell(told: dict[str, list[float]]) -> None:
    for kind, seconds in told.items():
        worst = max(seconds)
        print(f"  {kind:36} {len(seconds):4} flagged, median {statistics.median(seconds):6.2f} s, worst {worst:6.2f} s")


def test_every_damage_is_flagged_with_its_type_and_closes_when_it_is_repaired(place: Place) -> None:
    here = place.here
    assert here.all("select * from discrepancies") == [], "the clean run flags nothing"
    injected = inject(place)
    wanted = {one.flag for one in injected}
    until(lambda: flagged(here) >= wanted, lambda: sorted(wanted - flagged(here))[:20], seconds=PATIENCE)
    assert sorted(flagged(here) - wanted) == [], "nothing is flagged that was not damaged"
    told = latencies(here, injected)
    tell(told)
    at_once = sorted(s for kind, seconds in told.items() if DAMAGES[kind].wait == 0 for s in seconds)
    p95 = at_once[math.ceil(len(at_once) * 0.95) - 1] + COMPARING
    silence = max(s for kind, seconds in told.items() if DAMAGES[kind].wait for s in seconds) + ARMING
    print(f"  evidence to flag p95 {p95:.2f} s, the end of a silence to flag at most {silence:.2f} s")
    assert (p95 < EVIDENCE_P95_SECONDS, silence < SILENCE_SECONDS) == (True, True)
    repaired(place, injected)


def repaired(place: Place, injected: list[Injected]) -> None:
    """Every kind can be repaired, and is closed without anybody's help."""
    for one in injected:
        DAMAGES[one.kind].repair(place, one.subject)
    read_changes(place)
    kinds = {one.subject: one.kind for one in injected}

    def amiss() -> list[tuple[str, str]]:
        found = flagged(place.here, only_open=True)
        return sorted((type, kinds.get(subject, subject)) for type, subject in found)

    # a payment that came back is itself behind for a moment
    until(lambda: not amiss(), lambda: f"{amiss()[:20]}\n{place.here.tail()}", seconds=PATIENCE)
    closed = place.here.all("select distinct status, resolution_code from discrepancies where closed_at is not null")
    assert closed == [{"status": "auto_resolved", "resolution_code": "met"}]
