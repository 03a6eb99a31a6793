"""The database takes every walk that is planned, with all its facts, and keeps what must not be lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import pytest

from app.db import Tx
from app.model.snapshot import ProviderStatus, Snapshot
from app.model.states import CLOSED, State
from app.model.walk import Verdict, plan_walk
from app.services.snapshots import apply_snapshot
from tests import factories
from tests.jobs.observed import TIMING
from tests.jobs.provider_history import AMOUNT, Change, History, snapshots
from tests.jobs.test_walk import CAPTURE_METHODS, METHODS, SOON, says
from tests.sql.edges import EDGES


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
