"""Three hundred payments of every kind, a third of all calls failing by seed, webhooks included: each ends as it must.

POSTBOX_SEED=<number> replays a campaign: payments' ids come from the seed, and what fails is drawn from seed and id.
"""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.dev.postgres import Cluster
from tests import factories
from tests.e2e.campaign_worker import READ_SECONDS
from tests.e2e.gateway_process import GatewayProcess, start_gateway
from tests.jobs.processes import World, until, world

PAYMENTS = 300
FAULT_RATE = 1 / 3
# Longer than the worker waits for an answer, so that a held connection is a timeout.
HOLD_SECONDS = READ_SECONDS + 0.2
LATE_SECONDS = 0.5
FINAL = ("settled", "failed", "canceled")


@dataclass(frozen=True)
class Kind:
    """What is paid with, what somebody does about it, and where it must end."""

    token: str
    end: str
    manual: bool = False
    authenticates: str | None = None
    captures: int | None = None
    cancels: bool = False


KINDS = (
    Kind("pm_card_visa", "settled"),
    Kind("pm_card_mastercard", "settled"),
    Kind("pm_card_amex", "settled"),
    Kind("pm_card_chargeDeclined", "failed"),
    Kind("pm_card_chargeDeclinedInsufficientFunds", "failed"),
    Kind("pm_card_chargeDeclinedExpiredCard", "failed"),
    Kind("pm_card_threeDSecure2Required", "settled", authenticates="success"),
    Kind("pm_card_threeDSecure2Required", "failed", authenticates="failure"),
    Kind("pm_card_visa", "settled", manual=True, captures=1_000),
    Kind("pm_card_visa", "settled", manual=True, captures=600),
    Kind("pm_card_visa", "canceled", manual=True, cancels=True),
    Kind("pm_card_threeDSecure2Required", "settled", manual=True, authenticates="success", captures=1_000),
)


@pytest.fixture(scope="module")
def seed() -> int:
    return int(os.environ.get("POSTBOX_SEED") or random.randrange(10**9))


@pytest.fixture
def here(cluster: Cluster, template: str, tmp_path: Path) -> Iterator[World]:
    with world(cluster, template, tmp_path) as made:
        yield made


def test_three_hundred_payments_survive_faults_on_a_third_of_all_calls(here: World, seed: int) -> None:
    print(f"\nPOSTBOX_SEED={seed}")
    gateway = start_gateway(here)
    here.sandbox.fault(
        seed=seed,
        rate=FAULT_RATE,
        webhook_rate=FAULT_RATE,
        identify_by="payment_id",
        seconds=HOLD_SECONDS,
        webhook_seconds=LATE_SECONDS,
    )
    kinds = {
        uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}-{number}"): KINDS[number % len(KINDS)] for number in range(PAYMENTS)
    }
    for payment_id, kind in kinds.items():
        factories.payment(
            here.connection,
            merchant_id=gateway.merchant_id,
            id=payment_id,
            method_token=kind.token,
            capture_method="manual" if kind.manual else "automatic",
        )
    for _ in range(2):
        here.start("-m", "tests.e2e.campaign_worker", POSTBOX_WORKER_CONCURRENCY="12")
    people = People(here, gateway, kinds)
    until(
        lambda: people.act_once() and all_final(here) and not here.pending(),
        lambda: f"POSTBOX_SEED={seed}: {here.states()} {here.pending()}\n{here.tail()}",
        seconds=240,
    )
    # a late webhook may still come and make work at any moment: no more of them, and what came is done
    here.sandbox.control("POST", "webhooks/pause")
    until(
        lambda: not here.sandbox.control("GET", "webhooks")["in_flight"] and not here.pending(),
        lambda: f"POSTBOX_SEED={seed}: {here.pending()}",
        seconds=60,
    )

    ends = {row["id"]: row["state"] for row in here.all("select id, state from payments")}
    wrong = {str(i): (kind, ends[i]) for i, kind in kinds.items() if ends[i] != kind.end}
    assert not wrong, f"POSTBOX_SEED={seed}"
    assert here.all("select handler, dead_reason from deliveries where status = 'dead'") == []
    ledger = here.sandbox.ledger(limit="2000")
    assert ledger["summary"]["charged_twice"] == []
    assert captured(ledger) == {str(i): kind.captures or 1_000 for i, kind in kinds.items() if kind.end == "settled"}
    assert here.violations() == [], f"POSTBOX_SEED={seed}"
    print(hits(here), here.one("select count(*) as n from provider_calls where late"))
    assert hits(here)["faults"] > 100, "there was something to survive"


def all_final(here: World) -> bool:
    return set(here.states()) <= set(FINAL)


def captured(ledger: dict[str, Any]) -> dict[str, int]:
    """What the provider itself says it took, by payment."""
    sums: Counter[str] = Counter()
    for intent in ledger["payments"]:
        for charge in intent["charges"]:
            if charge["amount_captured"]:
                sums[intent["metadata"]["payment_id"]] += charge["amount_captured"]
    return dict(sums)


def hits(here: World) -> dict[str, int]:
    calls = here.all("select outcome, count(*) as n from provider_calls group by 1")
    by_outcome = {row["outcome"]: row["n"] for row in calls}
    return by_outcome | {"faults": by_outcome.get("ambiguous", 0) + by_outcome.get("not_executed", 0)}


class People:
    """The payers who authenticate and the merchant who captures or cancels, each once per payment."""

    def __init__(self, here: World, gateway: GatewayProcess, kinds: dict[uuid.UUID, Kind]) -> None:
        self._here, self._gateway, self._kinds = here, gateway, kinds
        self._acted: set[tuple[uuid.UUID, str]] = set()
        self._never = threading.Event()

    def act_once(self) -> bool:
        """Do what is to be done now; True always."""
        rows = self._here.all(
            "select id, state, provider_ref from payments where state in ('requires_action', 'authorized')"
        )
        for row in rows:
            if (row["id"], row["state"]) not in self._acted:
                self._acted.add((row["id"], row["state"]))
                self._act(row, self._kinds[row["id"]])
        return True

    def _act(self, row: dict[str, Any], kind: Kind) -> None:
        if row["state"] == "requires_action":
            intent = f"payment_intents/{row['provider_ref']}/authenticate"
            self._here.sandbox.control("POST", intent, outcome=kind.authenticates)
        elif kind.cancels:
            self._ask(row, "cancel", {"reason": "requested"})
        else:
            self._ask(row, "capture", {"amount": kind.captures})

    def _ask(self, row: dict[str, Any], what: str, body: dict[str, Any]) -> None:
        path = f"/v1/payments/pay_{row['id'].hex}/{what}"
        self._gateway.post_until_taken(path, body, key=f"{what}-{row['id']}", stop=self._never)
