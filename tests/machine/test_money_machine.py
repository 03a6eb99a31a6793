"""Any sequence of what merchants, banks, the network and dying workers do leaves books that add up, at every step.

Hypothesis draws the sequences and shrinks one that fails; it prints what replays it (`@reproduce_failure`).
`POSTBOX_MACHINE_EXAMPLES` is how many (200), each of 30 steps; after each every invariant of `postbox check` is looked
at.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.config import Timing
from app.gateway import create_app
from app.gateway.context import EXTENSION
from app.services import refunds, requests
from cli.dev.postgres import Cluster
from jobs.runtime import open_runtime
from tests.campaign.progress import one_more
from tests.fixtures.database import clone, settings_of
from tests.fixtures.sandbox import running_sandbox
from tests.fixtures.worker import Hand
from tests.machine.surroundings import AVAILABLE_AFTER, Surroundings

EXAMPLES = int(os.environ.get("POSTBOX_MACHINE_EXAMPLES", "200"))
STEPS = 30
# More payments than this say nothing that fewer do not.
MOST_PAYMENTS = 3
# Waits of production in thousandths: a lease of 30 ms is long enough for the one thread there is.
SCALE = 0.001
# Every look, the invariants' above all, takes the longer the more is there: after so many sequences they begin anew.
SEQUENCES = 10
# The sandbox's own durations would make what happens depend on how fast the machine is: only its clock is moved.
BY_ITS_CLOCK = ("--time-scale", "1000")

WHICH = st.integers(0, 1_000)
AMOUNT = st.sampled_from([1_000, 400, 250])


@contextmanager
def place(cluster: Cluster, template: str, ledger: Path) -> Iterator[Surroundings]:
    """One database, one sandbox and one worker's hand."""
    timing = replace(Timing().scaled(SCALE), provider_connect=2.0, provider_read=5.0, silence=1.0)
    with contextmanager(clone)(cluster, template) as database, running_sandbox(ledger, *BY_ITS_CLOCK) as sandbox:
        here = replace(settings_of(database), stripe_api_base=sandbox.url, timing=timing)
        app, runtime = create_app(here), open_runtime(here)
        edge = app.extensions[EXTENSION]
        try:
            yield Surroundings(Hand(runtime, database), sandbox, app.test_client())
        finally:
            for opened in (runtime, edge.door, edge.waker, edge.database):
                opened.close()


@pytest.fixture
def places(cluster: Cluster, template: str, tmp_path: Path) -> Iterator[Iterator[Surroundings]]:
    """Where each sequence takes place, one after the other; each has a merchant of its own there."""

    def each() -> Iterator[Surroundings]:
        for number in count():
            with place(cluster, template, tmp_path / f"stripe-{number}.jsonl") as around:
                for _ in range(SEQUENCES):
                    yield around

    with closing(each()) as found:
        yield found


class MoneyMachine(RuleBasedStateMachine):
    """Every rule is one step; what cannot be done at the moment is a step that is refused.

    Which rules there are hangs on what was drawn alone: on nothing that takes its time, so that a sequence replays.
    """

    def __init__(self, around: Surroundings, done: Counter[str]) -> None:
        super().__init__()
        self.around = around
        self.done = done
        self.steps = 0
        around.begin()

    def payment(self, which: int) -> Any:
        return self.around.payments[which % len(self.around.payments)]

    def at_provider(self, which: int, kind: str) -> str | None:
        """One of the provider's objects of this kind."""
        found = [child["id"] for payment in self.around.ledger().values() for child in payment[kind]]
        return found[which % len(found)] if found else None

    # -- merchants ----------------------------------------------------------------------------------------------

    @initialize(amount=AMOUNT, by_hand=st.booleans())
    def begin(self, amount: int, by_hand: bool) -> None:
        self.create(amount, "pm_card_visa", by_hand)

    @precondition(lambda self: len(self.around.payments) < MOST_PAYMENTS)
    @rule(amount=AMOUNT, token=st.sampled_from(["pm_card_visa", "pm_card_chargeDeclined"]), by_hand=st.booleans())
    def create(self, amount: int, token: str, by_hand: bool) -> None:
        self.around.pay(amount=amount, token=token, capture_method="manual" if by_hand else "automatic")

    @rule(which=WHICH, amount=st.none() | AMOUNT)
    def capture(self, which: int, amount: int | None) -> None:
        self.around.ask(requests.capture, self.payment(which), amount=amount)

    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        self.around.ask(requests.cancel, self.payment(which), reason="requested")

    @rule(which=WHICH, amount=st.none() | AMOUNT)
    def refund(self, which: int, amount: int | None) -> None:
        self.around.ask(refunds.request, self.payment(which), amount=amount, reason="requested")

    # -- the provider and the banks -----------------------------------------------------------------------------

    @rule(which=WHICH, amount=AMOUNT)
    def refund_in_the_dashboard(self, which: int, amount: int) -> None:
        if payment := self.around.ledger().get(self.payment(which)):
            self.around.refund_elsewhere(payment, amount)

    @rule(which=WHICH)
    def refund_fails(self, which: int) -> None:
        self.bank(which, "refunds", "fail")

    @rule(which=WHICH)
    def dispute(self, which: int) -> None:
        self.bank(which, "charges", "dispute")

    @rule(which=WHICH)
    def win(self, which: int) -> None:
        self.bank(which, "disputes", "win")

    @rule(which=WHICH)
    def lose(self, which: int) -> None:
        self.bank(which, "disputes", "lose")

    def bank(self, which: int, kind: str, verb: str) -> None:
        if found := self.at_provider(which, kind):
            self.around.bank(f"{kind}/{found}/{verb}")

    @rule()
    def settle(self) -> None:
        self.around.sandbox.advance(AVAILABLE_AFTER)

    @rule()
    def payout(self) -> None:
        self.around.pay_out()

    @rule(which=WHICH)
    def payout_fails(self, which: int) -> None:
        if made := self.around.payouts:
            self.around.bank(f"payouts/{made[which % len(made)]}/fail")

    # -- the network and the workers ----------------------------------------------------------------------------

    @rule(which=WHICH)
    def a_webhook_comes_before_those_that_were_sent_earlier(self, which: int) -> None:
        self.around.hear()
        if waiting := self.around.waiting:
            self.around.deliver(waiting.pop(which % len(waiting)))

    @rule(which=WHICH)
    def a_webhook_comes_again(self, which: int) -> None:
        if delivered := self.around.delivered:
            self.around.deliver(delivered[which % len(delivered)])

    @rule(jobs=st.integers(1, 4))
    def work(self, jobs: int) -> None:
        for _ in range(jobs):
            self.around.hand.run_one()

    @rule(acts=st.integers(1, 40))
    def crash_of_a_worker(self, acts: int) -> None:
        self.around.crash(acts)

    @rule()
    def rest(self) -> None:
        self.around.rest()
        assert self.around.found() == self.around.expected()
        assert self.around.payouts_found() == self.around.payouts_expected()
        assert self.around.broken(self.around.payments, quiesced=True) == []
        assert self.around.open_discrepancies() == []

    # -- after every step ---------------------------------------------------------------------------------------

    @invariant()
    def what_postbox_check_looks_at_holds(self) -> None:
        self.steps += 1
        assert self.around.broken(self.around.touched()) == []

    def teardown(self) -> None:
        self.rest()
        self.done.update(examples=1, whole=self.steps >= STEPS, steps=self.steps)
        if self.steps >= STEPS:
            one_more()


def test_books_add_up_after_every_step(places: Iterator[Surroundings]) -> None:
    done: Counter[str] = Counter()
    # some are drawn shorter, on purpose: they come on top
    while (missing := EXAMPLES - done["whole"]) > 0:
        drawn = settings(
            max_examples=missing, stateful_step_count=STEPS, deadline=None, print_blob=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        run_state_machine_as_test(lambda: MoneyMachine(next(places), done), settings=drawn)
    print(f"{done['whole']} sequences of {STEPS} steps, {done['steps']:,} steps in all")
