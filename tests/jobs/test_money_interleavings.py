"""Arrival order does not matter after the confirmation either: refunds and disputes in every order end the same.

`POSTBOX_MONEY_ORDERS` is the number of random orders (300 by default) and `POSTBOX_MONEY_SEED` the first seed; a
failure names its own. Each is a random life too, whose books end with clearing at zero and nothing in pending:
`bin/campaign orders` runs 5,000 and `bin/campaign lives` 20,000 of them.
`POSTBOX_MONEY_CHANGES` is how long the histories are that are put into every order (4).
"""

from __future__ import annotations

import json
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.campaign.progress import one_more
from tests.jobs.interleaving import Flight, Violation, World
from tests.jobs.money_history import Change, History, all_histories, told
from tests.jobs.money_observed import MoneyObserved, MoneyOrders, as_told, plain
from tests.jobs.observed import Remembered

C = Change
LONGEST = int(os.environ.get("POSTBOX_MONEY_CHANGES", "4"))
ORDERS = int(os.environ.get("POSTBOX_MONEY_ORDERS", "300"))
FIRST_SEED = int(os.environ.get("POSTBOX_MONEY_SEED", "1"))
# Random orders run in parts, so that test processes share them.
PARTS = 10

UPTO = [history for length in range(1, LONGEST + 1) for history in all_histories(length, settles=False)]
ABOVE = [history for length in (5, 6, 7) for history in all_histories(length, settles=True)]
# A bank's refund that failed need not have succeeded, and nothing tells whether it had.
ABOVE += [History(history.changes, "us_bank_account") for history in ABOVE[::7] if C.FAIL not in history.changes]


def beginning(payment: MoneyObserved, *, repeats: int = 0) -> World:
    """A fetch from before our confirm is on its way as well."""
    return World(repeats=repeats, flights=(Flight(0, payment.version()),))


@pytest.mark.parametrize("history", UPTO, ids=str)
def test_every_order_ends_in_the_same_state_amounts_books_and_ordered_events(conn, history: History) -> None:
    payment = MoneyObserved(conn, history, keeps_books=True)
    expected = payment.told_in_time()
    assert as_told(expected) == plain(told(history))
    assert json.loads(expected)["books"] == told(history).books()
    remembered = Remembered(payment)
    orders = MoneyOrders(history, remembered, expected)
    count = orders.explore(World(repeats=1))
    print(f"{history}: {count:,} orders, {len(orders.worlds):,} worlds, {remembered.runs} applied for real")


@pytest.mark.parametrize("part", range(PARTS))
def test_random_orders_of_more_changes_with_repeats_and_books_kept_meanwhile_end_the_same(conn, part: int) -> None:
    """Nothing is remembered here, and every order's books are kept by handlers that run whenever they run."""
    for seed in range(FIRST_SEED + part, FIRST_SEED + ORDERS, PARTS):
        draw = random.Random(seed)
        history = draw.choice(ABOVE)
        with conn.transaction(force_rollback=True):
            payment = MoneyObserved(conn, history.to_its_end())
            run_one(payment, history, draw, seed)
        one_more()


def run_one(payment: MoneyObserved, history: History, draw: random.Random, seed: int) -> None:
    """One order to the end of the payment's life, with its books kept in between."""
    orders = MoneyOrders(history, payment, "", answers=seed % 2 == 0, shares=seed % 3 > 0, path=[f"seed {seed}"])
    world = beginning(payment, repeats=seed % 4)
    while steps := [step for step, ways in orders.possible(world) for _ in range(ways)]:
        step = draw.choice(steps)
        orders.path.append(step)
        world = orders.take(world, step)
        keep_books(payment, draw, most=2)
    keep_books(payment, draw, most=None)
    whole = history.to_its_end()
    if whole != history:
        assert not payment.apply(len(whole.changes), payment.version()), "nothing else is on its way"
        keep_books(payment, draw, most=None)
    expected = told(whole)
    found = as_told(payment.told()), payment.books(), payment.left_in_pending()
    if world.moved < len(history.changes) or found != (plain(expected), expected.books(), 0):
        raise Violation(whole, orders.path, str(found), str((plain(expected), expected.books(), 0)))


def keep_books(payment: MoneyObserved, draw: random.Random, *, most: int | None) -> None:
    """Run up to `most` of the handlers that are due, any of them; all of them, in any order, when it is None."""
    waiting = payment.open_events()
    draw.shuffle(waiting)
    for event in waiting if most is None else waiting[: draw.randint(0, most)]:
        payment.post(event)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_payment_ends_as_the_plain_model_says(conn, data: st.DataObject) -> None:
    """Any history, cut anywhere, in any order: the plain model has never heard of snapshots or versions."""
    whole = data.draw(st.sampled_from(UPTO + ABOVE))
    history = History(whole.changes[: data.draw(st.integers(1, len(whole.changes)))], whole.method)
    with conn.transaction(force_rollback=True):
        payment = MoneyObserved(conn, history)
        orders = MoneyOrders(history, payment, "", answers=data.draw(st.booleans()), shares=data.draw(st.booleans()))
        world = beginning(payment, repeats=data.draw(st.integers(0, 4)))
        while steps := [step for step, _ in orders.possible(world)]:
            world = orders.take(world, data.draw(st.sampled_from(steps)))
        keep_books(payment, random.Random(data.draw(st.integers())), most=None)
        assert world.moved == len(history.changes)
        assert as_told(payment.told()) == plain(told(history))
        assert payment.books() == told(history).books()


def test_scenario_34_a_bank_debit_that_is_lost_is_returned_and_not_charged_back(conn) -> None:
    """Stripe tells a late failure of a bank debit as a dispute that is lost."""
    history = History((C.CONFIRM, C.SETTLE, C.DISPUTE, C.LOST), "us_bank_account")
    payment = MoneyObserved(conn, history)
    payment.apply(4, payment.version())
    keep_books(payment, random.Random(0), most=None)
    assert payment.state() == "returned"
    assert as_told(payment.told())["topics"][-2:] == ["payment.disputed", "payment.returned"]
    assert payment.books()["provider_fees"] > 0 and "merchant" not in payment.books()
