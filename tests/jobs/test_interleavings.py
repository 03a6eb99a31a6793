"""Arrival order does not matter: the steps of every provider change in every order give one state and one story.

`POSTBOX_ORDERS` is the number of random orders (1,500 by default; `bin/campaign steps` runs 5,000) and
`POSTBOX_ORDERS_SEED` the first seed; a failure names its own. `POSTBOX_CHANGES` is how long the histories are that are
put into every order (4 by default).
"""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.model.snapshot import PROVIDER_RANK
from tests.campaign.progress import one_more
from tests.jobs.interleaving import Flight, Orders, Violation, World
from tests.jobs.observed import Observed, Remembered, as_told, plain
from tests.jobs.provider_history import FIRST, Change, History, all_histories, told

C = Change
KINDS = list(FIRST)
LONGEST = int(os.environ.get("POSTBOX_CHANGES", "4"))
ORDERS = int(os.environ.get("POSTBOX_ORDERS", "1500"))
FIRST_SEED = int(os.environ.get("POSTBOX_ORDERS_SEED", "1"))
# Random orders run in parts, so that test processes share them.
PARTS = 10

UPTO = [history for kind in KINDS for history in all_histories(kind, LONGEST)]
UPTO += [replace(history, captured=600) for history in UPTO if C.CAPTURE in history.changes]
ABOVE = [history for kind in KINDS for history in all_histories(kind, 6) if len(history.changes) > 4]
ABOVE += [replace(history, captured=600) for history in ABOVE if C.CAPTURE in history.changes]

# The history for which each check is needed, the shortest there is.
NEEDS_RANK = History((C.CHALLENGE, C.PROCESS), "us_bank_account")
NEEDS_VERSION = History((C.HOLD, C.EXPIRE), "card", "manual")


def beginning(payment: Observed, *, answers: bool, repeats: int = 0) -> World:
    """With answers, a fetch from before our confirm is on its way as well: payment_intent.created has a webhook too."""
    early = (Flight(0, payment.version()),) if answers else ()
    return World(repeats=repeats, flights=early)


# -- every order --------------------------------------------------------------------------------------------------


@dataclass
class Nobody:
    """No payment at all: what remains is how many orders there are."""

    def version(self) -> int:
        return 0

    def state(self) -> str:
        return ""

    def told(self) -> str:
        return ""

    def apply(self, seen: int, version: int | None) -> bool:
        return False

    def undone(self) -> AbstractContextManager[object]:
        return nullcontext()


@pytest.mark.parametrize("changes", [1, 2, 3, 4, 5])
def test_no_order_of_the_four_steps_is_left_out(changes: int) -> None:
    """A change's three later steps go anywhere behind its move: 1, 35, 5 775, 2 627 625, 2 546 168 625 orders."""
    history = History((C.PROCESS,) * changes)
    orders = Orders(history, Nobody(), "").explore(World())
    assert orders == math.prod(math.comb(4 * n - 1, 3) for n in range(1, changes + 1))


@pytest.mark.parametrize("history", UPTO, ids=str)
def test_every_order_in_which_webhooks_share_a_look_ends_the_same(conn, history: History) -> None:
    payment = Observed(conn, history)
    orders = Orders(history, Remembered(payment), payment.told_in_time(), shares=True)
    count = orders.explore(beginning(payment, answers=False, repeats=1))
    print(f"{history}: {count:,} orders, {len(orders.worlds):,} worlds")


@pytest.mark.parametrize("answers", [False, True], ids=["webhooks", "answers"])
@pytest.mark.parametrize("history", UPTO, ids=str)
def test_every_order_ends_in_the_same_state_amounts_and_events(conn, history: History, answers: bool) -> None:
    payment = Observed(conn, history)
    expected = payment.told_in_time()
    assert as_told(expected) == plain(told(history))
    remembered = Remembered(payment)
    # our own answers and a repeated webhook at once are left to the random orders: they make minutes of it
    orders = Orders(history, remembered, expected, answers=answers)
    count = orders.explore(beginning(payment, answers=answers, repeats=0 if answers else 1))
    print(f"{history}: {count:,} orders, {len(orders.worlds):,} worlds, {remembered.runs} applied for real")


@pytest.mark.parametrize(
    ("answers", "shares"), [(False, False), (True, False), (False, True)], ids=["webhooks", "answers", "shared"]
)
@pytest.mark.parametrize("history", [h for h in UPTO if len(h.changes) <= 3], ids=str)
def test_nothing_is_forgotten_by_remembering(conn, history: History, answers: bool, shares: bool) -> None:
    payment = Observed(conn, history)
    expected, start = payment.told_in_time(), beginning(payment, answers=answers)
    real = Orders(history, payment, expected, answers=answers, shares=shares)
    remembered = Orders(history, Remembered(payment), expected, answers=answers, shares=shares)
    assert real.explore(start) == remembered.explore(start)
    assert len(real.worlds) == len(remembered.worlds)


# -- random orders ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(PARTS))
def test_random_orders_of_more_changes_with_repeats_and_answers_tell_the_same(conn, part: int) -> None:
    """Nothing is remembered here: each order is applied from its first step to its last."""
    seeds = range(FIRST_SEED + part, FIRST_SEED + ORDERS, PARTS)
    applied = 0
    for index, history in enumerate(ABOVE):
        with conn.transaction(force_rollback=True):
            payment = Observed(conn, history)
            expected = payment.told_in_time()
            assert as_told(expected) == plain(told(history))
            for seed in seeds[index :: len(ABOVE)]:
                orders = Orders(history, payment, expected, answers=seed % 2 == 0, shares=seed % 3 > 0)
                with payment.undone():
                    orders.run_random(beginning(payment, answers=orders.answers, repeats=seed % 4), seed)
                one_more()
                applied += orders.applied
    print(f"{len(seeds)} orders from seed {seeds.start} in steps of {PARTS}, {applied:,} snapshots applied")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_payment_ends_as_the_plain_state_machine_says(conn, data: st.DataObject) -> None:
    """Any history, cut anywhere, in any order: the plain machine has never heard of snapshots, ranks or versions."""
    whole = data.draw(st.sampled_from(UPTO + ABOVE))
    history = whole.upto(data.draw(st.integers(1, len(whole.changes))))
    with conn.transaction(force_rollback=True):
        payment = Observed(conn, history)
        answers, repeats = data.draw(st.booleans()), data.draw(st.integers(0, 4))
        orders = Orders(history, payment, "", answers=answers, shares=data.draw(st.booleans()))
        world = beginning(payment, answers=answers, repeats=repeats)
        while steps := [step for step, _ in orders.possible(world)]:
            world = orders.take(world, data.draw(st.sampled_from(steps)))
        assert world.moved == len(history.changes)
        assert as_told(payment.told()) == plain(told(history))


# -- without the checks -------------------------------------------------------------------------------------------


def violation(conn: Any, history: History, *, checks_version: bool = True) -> Violation | None:
    """The first order that ends otherwise than in time, if there is one."""
    with conn.transaction(force_rollback=True):
        payment = Observed(conn, history, checks_version=checks_version)
        expected = payment.told_in_time()
        for answers in (False, True):
            try:
                Orders(history, Remembered(payment), expected, answers=answers).explore(
                    beginning(payment, answers=answers)
                )
            except Violation as found:
                return found
    return None


def without_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every snapshot ranks the same, so that none is below another."""
    for status in PROVIDER_RANK:
        monkeypatch.setitem(PROVIDER_RANK, status, 10)


@pytest.mark.parametrize("history", [NEEDS_RANK, NEEDS_VERSION], ids=str)
def test_with_both_checks_no_order_ends_otherwise(conn, history: History) -> None:
    assert violation(conn, history) is None


@pytest.mark.parametrize(
    "history", [NEEDS_RANK, History((C.CHALLENGE, C.HOLD), "card", "manual")], ids=["bank debit", "held card"]
)
def test_without_the_rank_a_late_answer_asks_the_payer_again(conn, monkeypatch, history: History) -> None:
    without_ranks(monkeypatch)
    found = violation(conn, history)
    assert found is not None
    assert "answer applied@1" in str(found)
    print(found)


@pytest.mark.parametrize(
    "history", [NEEDS_VERSION, History((C.HOLD, C.VOID), "card", "manual")], ids=["expired", "voided"]
)
def test_without_the_version_an_old_fetch_finds_money_on_a_canceled_payment(conn, history: History) -> None:
    found = violation(conn, history, checks_version=False)
    assert found is not None
    assert "applied@2" in str(found) and "applied@1" in str(found)
    print(found)


class Careless(Orders):
    """Takes an applied observation for the answer to webhooks that came while it was under way as well."""

    def _answer(self, world: World, flight: Flight) -> World:
        return super()._answer(world, replace(flight, asked=world.delivered))


def test_a_look_that_also_answered_what_came_after_it_began_would_lose_it(conn) -> None:
    history = History((C.HOLD, C.EXPIRE), "card", "manual")
    payment = Observed(conn, history)
    expected = payment.told_in_time()
    with pytest.raises(Violation, match="applied@1"):
        Careless(history, Remembered(payment), expected, shares=True).explore(World())
    Orders(history, Remembered(payment), expected, shares=True).explore(World())
