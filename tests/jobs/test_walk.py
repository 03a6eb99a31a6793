"""How one snapshot moves one payment: every walk is legal, canonical and keeps what must not be lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.db import Tx
from app.model.snapshot import NextAction, ProviderStatus, Snapshot
from app.model.states import CLOSED, State
from app.model.walk import Verdict, plan_walk
from app.services.snapshots import apply_snapshot
from tests import factories
from tests.jobs.observed import TIMING
from tests.jobs.provider_history import AMOUNT, FIRST, Change, History, all_histories, snapshots
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


# -- the plan alone -----------------------------------------------------------------------------------------------


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


# -- on the database ----------------------------------------------------------------------------------------------


def observe(conn: Any, payment: dict[str, Any], snapshot: Snapshot, *, version: int | None = None) -> Any:
    """Apply a snapshot of the payment's own object, as a webhook."""
    factories.act(conn, "webhook")
    ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}
    tx = Tx(conn)
    current = tx.one("payments.observed_version", **ids)
    own = replace(snapshot, ref=current["provider_ref"] or factories.provider_ref(payment))
    version = current["observed_version"] if version is None else version
    return apply_snapshot(tx, *ids.values(), own, observed_version=version, timing=TIMING)


def read(conn: Any, payment: dict[str, Any]) -> dict[str, Any]:
    return conn.execute("select * from payments where id = %s", [payment["id"]]).fetchone()


def entries(conn: Any, payment: dict[str, Any], after: int = 0) -> list[dict[str, Any]]:
    conn.execute("reset role")
    return conn.execute(
        "select payment_version as version, action, reason from audit_log"
        " where payment_id = %s and payment_version > %s order by payment_version",
        [payment["id"], after],
    ).fetchall()


def events(conn: Any, payment: dict[str, Any]) -> list[str]:
    return [
        event["topic"]
        for event in conn.execute(
            "select topic from events where payment_id = %s and topic like 'payment.%%' order by payment_version, id",
            [payment["id"]],
        ).fetchall()
    ]


# A bank debit that is lost is returned: no card was charged.
STATES_OF = [(m, s.value) for m in METHODS for s in State if m == "card" or s is not State.CHARGED_BACK]


@pytest.mark.parametrize("method, state", STATES_OF)
@pytest.mark.parametrize("capture_method", CAPTURE_METHODS)
def test_the_database_takes_every_walk_with_all_its_facts(conn, state: str, method: str, capture_method: str) -> None:
    payment = factories.payment(conn, state, method=method, capture_method=capture_method)
    for status, taken, held in product(ProviderStatus, (False, True), (False, True)):
        with conn.transaction(force_rollback=True):
            before, told = read(conn, payment), events(conn, payment)
            snapshot = says(status, taken=taken, held=held)
            plan = plan_walk(before, snapshot)
            applied = observe(conn, payment, snapshot)
            after = read(conn, payment)
            assert (applied.verdict, applied.state) == (plan.verdict, after["state"])
            steps = [step.state.value for step in plan.steps if step.state is not None]
            walked = [before["state"], *steps]
            assert after["state"] == walked[-1]
            assert events(conn, payment)[len(told) :] == [EDGES[pair][0] for pair in pairwise(walked)]
            too_early = applied.verdict is Verdict.TOO_EARLY
            assert after["observed_version"] == before["observed_version"] + (not too_early)
            written = entries(conn, payment, before["version"])
            assert [entry["version"] for entry in written] == list(range(before["version"] + 1, after["version"] + 1))
            assert len(written) == (0 if too_early else len(plan.steps) + 1)
            reason = None if applied.verdict in (Verdict.APPLIED, Verdict.TOO_EARLY) else applied.verdict.value
            assert {entry["reason"] or None for entry in written} <= {reason}


@pytest.mark.parametrize(
    ("state", "late"), [("confirmed", ProviderStatus.PROCESSING), ("authorized", ProviderStatus.ACTION_REQUIRED)]
)
def test_scenario_15_what_is_late_changes_nothing_and_is_audited_as_stale(
    conn, state: str, late: ProviderStatus
) -> None:
    payment = factories.payment(conn, state)
    applied = observe(conn, payment, says(late))
    assert (applied.verdict, applied.state) == (Verdict.STALE, state)
    after = read(conn, payment)
    moved = {name for name in after if after[name] != payment[name]}
    assert moved <= {"version", "observed_version", "updated_at", "observe_at"}
    assert [(e["action"], e["reason"]) for e in entries(conn, payment, payment["version"])] == [
        ("payment.observed", "observation_stale")
    ]


@pytest.mark.parametrize("state", sorted(CLOSED))
@pytest.mark.parametrize(
    ("status", "kept"),
    [
        (ProviderStatus.SUCCEEDED, {"amount_captured": AMOUNT}),
        (ProviderStatus.CAPTURABLE, {"amount_authorized": AMOUNT, "amount_captured": 0, "capture_before": SOON}),
    ],
)
def test_money_after_final_is_kept_and_told_and_moves_nothing(conn, state: str, status: Any, kept: dict) -> None:
    payment = factories.payment(conn, state)
    told = events(conn, payment)
    applied = observe(conn, payment, says(status, held=True))
    assert (applied.verdict, applied.state) == (Verdict.MONEY_AFTER_FINAL, state)
    after = read(conn, payment)
    assert {name: after[name] for name in kept} == kept
    assert after["money_after_final_at"] is not None
    assert events(conn, payment) == told
    assert {entry["reason"] for entry in entries(conn, payment, payment["version"])} == {"money_after_final"}
    # seen again, it is the same day
    observe(conn, payment, says(status, held=True))
    assert read(conn, payment)["money_after_final_at"] == after["money_after_final_at"]


def test_an_outdated_snapshot_changes_nothing_at_all(conn) -> None:
    payment = factories.payment(conn, "authorized")
    stale = payment["observed_version"] - 1
    assert observe(conn, payment, says(ProviderStatus.CANCELED), version=stale).outdated
    assert read(conn, payment) == payment


def test_an_object_that_is_not_the_payment_s_own_is_outdated_and_changes_nothing(conn) -> None:
    payment = factories.payment(conn, "submitted")
    factories.act(conn, "webhook")
    orphan = replace(says(ProviderStatus.CANCELED), ref="pi_orphan")
    ids = (payment["merchant_id"], payment["id"])
    for version in (payment["observed_version"], None):
        assert apply_snapshot(Tx(conn), *ids, orphan, observed_version=version, timing=TIMING).outdated
    assert read(conn, payment) == payment


def test_an_answer_of_ours_that_would_alarm_about_a_hold_that_ended_is_asked_again(conn) -> None:
    payment = factories.payment(conn, "authorized")
    observe(conn, payment, says(ProviderStatus.CANCELED, held=True))
    factories.act(conn, "worker")
    late = replace(says(ProviderStatus.CAPTURABLE, held=True), ref=payment["provider_ref"])
    ids = (payment["merchant_id"], payment["id"])
    assert apply_snapshot(Tx(conn), *ids, late, observed_version=None, timing=TIMING).outdated
    assert read(conn, payment)["money_after_final_at"] is None


def test_an_adopted_payment_goes_on_as_if_it_had_never_been_refused(conn) -> None:
    payment = factories.payment(conn, "failed")
    observe(conn, payment, says(ProviderStatus.FAILED))
    factories.advance(conn, read(conn, payment), "confirmed")
    assert read(conn, payment)["provider_rank"] == 100
    history = History((Change.SUCCEED, Change.BOOK, Change.RELEASE))
    available = snapshots(history, read(conn, payment))[-1]
    applied = observe(conn, payment, available)
    assert (applied.verdict, applied.state) == (Verdict.APPLIED, State.SETTLED)


def test_what_settles_before_anybody_looked_is_told_step_by_step(conn) -> None:
    payment = factories.payment(conn, "outcome_unknown")
    history = History(
        (Change.CHALLENGE, Change.HOLD, Change.CAPTURE, Change.BOOK, Change.RELEASE), "card", "manual", 600
    )
    final = snapshots(history, {**payment, "provider_ref": factories.provider_ref(payment)})[-1]
    payment = {**payment, "capture_method": "manual"}
    assert [step.state for step in plan_walk(payment, final).steps] == [
        "submitted", "requires_action", "authorized", "confirmed",
    ]  # fmt: skip
