"""How one snapshot moves one payment: every walk is legal, canonical and keeps what must not be lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.model.snapshot import NextAction, ProviderStatus, Snapshot
from app.model.states import CLOSED, State
from app.model.walk import Verdict, plan_walk
from tests.jobs.provider_history import AMOUNT, FIRST, History, all_histories, snapshots
from tests.sql.edges import EDGES

METHODS = ("card", "us_bank_account")
CAPTURE_METHODS = ("automatic", "manual")
SOON = datetime(2026, 7, 8, tzinfo=UTC)
ORDER = (
    "submitting",
    "outcome_unknown",
    "submitted",
    "requires_action",
    "authorized",
    "confirmed",
    "failed",
    "canceled",
)
HISTORIES = [history for kind in FIRST for history in all_histories(kind, 6)]


def says(status: ProviderStatus, *, taken: bool = False, held: bool = False, **more: Any) -> Snapshot:
    """What a provider can say of a payment of 10.00 USD in this status."""
    captured = AMOUNT if status is ProviderStatus.SUCCEEDED else 0
    return Snapshot(
        provider="stripe",
        account="default",
        ref="pi_1",
        status=status,
        currency="usd",
        amount=AMOUNT,
        **{
            "amount_captured": captured,
            "amount_capturable": AMOUNT if status is ProviderStatus.CAPTURABLE else 0,
            "amount_authorized": AMOUNT if held else None,
            "charge_ref": "ch_1" if held else None,
            "capture_before": SOON if status is ProviderStatus.CAPTURABLE else None,
            "next_action": NextAction("redirect", "https://bank.example/3ds")
            if status is ProviderStatus.ACTION_REQUIRED
            else None,
            "action_taken": taken,
            "failure_code": "card_declined" if status is ProviderStatus.FAILED else None,
            "cancel_reason": "abandoned" if status is ProviderStatus.CANCELED else None,
            **more,
        },
    )


def row(state: str, **columns: Any) -> dict[str, Any]:
    """The columns of a payment that a walk is decided from."""
    return {
        "id": "p", "state": state, "amount": AMOUNT, "currency": "usd", "method": "card", "capture_method": "automatic",
        "provider_rank": 0, "action_required_at": None, **columns,
    }  # fmt: skip


snapshots_of_any_kind = st.builds(
    says,
    st.sampled_from(ProviderStatus),
    taken=st.booleans(),
    held=st.booleans(),
    charge_ref=st.sampled_from([None, "ch_1"]),
    failure_code=st.sampled_from([None, "card_declined"]),
    cancel_reason=st.sampled_from([None, "abandoned", "authorization_expired"]),
)
# A state that only a snapshot leads to has that snapshot's rank at least.
LEAST_RANK = {State.REQUIRES_ACTION: 20, State.AUTHORIZED: 40}
payments_of_any_kind = (
    st.builds(
        row,
        st.sampled_from([state.value for state in State]),
        method=st.sampled_from(METHODS),
        capture_method=st.sampled_from(CAPTURE_METHODS),
        provider_rank=st.sampled_from([0, 10, 20, 30, 40, 50, 100]),
        action_required_at=st.sampled_from([None, SOON]),
    )
    .filter(lambda payment: payment["provider_rank"] >= LEAST_RANK.get(payment["state"], 0))
    .filter(lambda payment: payment["state"] != State.REQUIRES_ACTION or payment["action_required_at"] is not None)
)


@settings(max_examples=2_000, deadline=None)
@given(payments_of_any_kind, snapshots_of_any_kind)
def test_every_step_of_every_walk_is_an_edge_and_none_goes_back(payment: dict[str, Any], snapshot: Snapshot) -> None:
    walk = plan_walk(payment, snapshot)
    states = [payment["state"], *(step.state for step in walk.steps if step.state is not None)]
    for pair in pairwise(states):
        assert pair in EDGES, f"{payment} {snapshot}"
        assert "worker" in EDGES[pair][2]
    places = [ORDER.index(state) for state in states[1:]]
    # the one way back there is: what the payer did is being processed
    if (State.REQUIRES_ACTION, State.SUBMITTED) in pairwise(states):
        assert payment["method"] != "card" or snapshot.status is ProviderStatus.PROCESSING
        places.pop(states.index(State.REQUIRES_ACTION))
    assert places == sorted(set(places)), states
    if walk.verdict in (Verdict.STALE, Verdict.TOO_EARLY):
        assert walk.steps == ()
    if walk.verdict is Verdict.MONEY_AFTER_FINAL:
        assert len(states) == 1


@settings(max_examples=500, deadline=None)
@given(payments_of_any_kind, snapshots_of_any_kind)
def test_a_snapshot_that_was_applied_has_nothing_more_to_say(payment: dict[str, Any], snapshot: Snapshot) -> None:
    after = follow(payment, snapshot)
    if after["state"] in CLOSED:
        return
    assert plan_walk(after, snapshot).steps == ()


@settings(max_examples=1_000, deadline=None)
@given(st.sampled_from(HISTORIES), st.data())
def test_who_learns_late_walks_the_same_states_as_who_saw_each_change(history: History, data: st.DataObject) -> None:
    payment = {**row("submitting", method=history.method, capture_method=history.capture_method)}
    payment |= {"provider": "stripe", "provider_account": "default", "provider_ref": "pi_1"}
    said = snapshots(history, payment)
    last = len(said) - 1
    missed = data.draw(st.sets(st.sampled_from([i for i in range(last) if i == 0 or not history.must_be_seen(i - 1)])))
    in_time, late = [payment["state"]], [payment["state"]]
    for states, seen in ((in_time, range(last + 1)), (late, [i for i in range(last + 1) if i not in missed])):
        at = payment
        for index in seen:
            at = follow(at, said[index], states)
    assert late == in_time, f"{history} without {missed}"


def follow(payment: dict[str, Any], snapshot: Snapshot, states: list[str] | None = None) -> dict[str, Any]:
    """The payment as apply_snapshot leaves it, in the columns that the next plan looks at."""
    walk = plan_walk(payment, snapshot)
    after = dict(payment)
    for step in walk.steps:
        if step.state is None:
            continue
        after["state"] = step.state.value
        if states is not None:
            states.append(step.state.value)
        if step.state is State.REQUIRES_ACTION:
            after["action_required_at"] = SOON
    if walk.verdict is not Verdict.TOO_EARLY:
        after["provider_rank"] = max(after["provider_rank"], snapshot.rank)
    return after


def test_an_object_of_other_money_is_never_applied() -> None:
    for other in ({"amount": AMOUNT - 1}, {"currency": "eur"}):
        with pytest.raises(AssertionError):
            plan_walk(row("submitted"), replace(says(ProviderStatus.SUCCEEDED), **other))


def test_a_hold_that_ended_in_a_refusal_was_a_hold() -> None:
    refused = says(ProviderStatus.FAILED, held=True)
    assert [step.state for step in plan_walk(row("submitted", capture_method="manual"), refused).steps] == [
        "authorized", "failed",
    ]  # fmt: skip
    assert [step.state for step in plan_walk(row("submitted"), refused).steps] == ["failed"]


def test_a_bank_debit_that_bounced_was_processed_after_its_payer_acted() -> None:
    waiting = row("requires_action", method="us_bank_account", action_required_at=SOON)
    bounced = says(ProviderStatus.FAILED, charge_ref="py_1")
    assert [step.state for step in plan_walk(waiting, bounced).steps] == ["submitted", "failed"]
    unverified = says(ProviderStatus.FAILED)
    assert [step.state for step in plan_walk(waiting, unverified).steps] == ["failed"]
