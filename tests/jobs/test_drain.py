"""SIGTERM: what is on its way is finished and recorded, nothing further is begun, another worker goes on."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from uuid import UUID

import pytest

from cli.dev.postgres import Cluster
from jobs.provider_runs import request_runs_once
from tests import factories
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.worker import Hand
from tests.jobs.processes import DRAIN_SECONDS, until, world
from tests.jobs.test_retries import age, delivery, pay

PAYMENTS = 4
# Two such calls in a row take longer than a drain may.
SLOW_SECONDS = 13.0


def test_a_worker_with_calls_in_flight_drains_in_time_and_leaves_nothing_in_its_hands(
    cluster: Cluster, template: str, tmp_path: Path
) -> None:
    with world(cluster, template, tmp_path, "--available-after", "2", time_scale=1.0) as here:
        # what the provider lists of the hour would be asked about as well
        here.without_runs_of_the_clock()
        here.sandbox.fault(kind="slow", method="POST", count=None, seconds=SLOW_SECONDS)
        payments = [factories.payment(here.connection) for _ in range(PAYMENTS)]
        worker = here.worker()
        calls = "select step, outcome from provider_calls where payment_id is not null"
        until(lambda: len(here.all(calls)) == PAYMENTS, here.tail)

        worker.send_signal(signal.SIGTERM)
        asked_at = time.monotonic()
        assert worker.wait(timeout=DRAIN_SECONDS) == 0, here.tail()
        assert SLOW_SECONDS - 5 < time.monotonic() - asked_at < DRAIN_SECONDS

        assert here.all(calls) == [{"step": "create", "outcome": "ok"}] * PAYMENTS
        assert here.one("select count(*) as n from procrastinate_jobs where status = 'doing'") == {"n": 0}
        assert here.one("select count(*) as n from operations where status = 'in_flight'") == {"n": 0}
        assert here.one("select count(*) as n from procrastinate_workers") == {"n": 0}

        here.sandbox.control("DELETE", "faults")
        here.worker()
        until(lambda: here.states() == {"settled": PAYMENTS} and not here.pending(), here.pending)
        for payment in payments:
            summary = here.sandbox.ledger(payment_id=str(payment["id"]))["summary"]
            assert (summary["payment_intents"], summary["captured_charges"]) == (1, 1)
        assert here.violations() == []


@pytest.mark.parametrize("step", ["/v1/payment_intents", "/v1/payment_intents/*/confirm"])
def test_a_draining_worker_does_not_ask_what_became_of_a_lost_answer(hand: Hand, sandbox, step: str) -> None:
    payment = factories.payment(hand.connection)
    sandbox.fault(kind="error_500_before", method="POST", path=step)
    send = hand.runtime.provider.send

    def send_and_drain(request):
        reply = send(request)
        if reply.evidence.http_status == 500:
            hand.runtime.draining.set()
        return reply

    hand.runtime.provider.send = send_and_drain  # type: ignore[method-assign]
    hand.run_one()
    assert [call["outcome"] for call in hand.calls()][-1] == "ambiguous"
    waiting = hand.open_deliveries()
    assert [row["deferred_for"] for row in waiting if row["handler"] == "submit_payment"] == ["draining"]
    hand.runtime.draining.clear()
    assert hand.settle(payment["id"])["state"] == "settled"
    assert [row["n"] for row in hand.connection.execute("select n from operation_attempts")] == [1, 1]


def test_a_day_without_workers_is_no_dead_letter_of_what_the_last_one_left(hand: Hand, sandbox: Sandbox) -> None:
    payment = pay(hand)
    hand.runtime.draining.set()
    hand.run_one("remote")
    a_day_passes(hand, "submit_payment")
    sandbox.fault(kind="rate_limit_429", method="POST", path="/v1/payment_intents", count=1)
    assert hand.settle(payment["id"])["state"] == "settled"


@pytest.mark.parametrize("is_overtaken", [False, True], ids=["asked about whole", "overtaken"])
def test_a_day_without_workers_is_no_dead_letter_of_a_webhook(hand: Hand, sandbox: Sandbox, is_overtaken: bool) -> None:
    payment = hand.settle(pay(hand)["id"])
    ref, kind = payment["provider_ref"], "payment_intent.succeeded" if is_overtaken else "charge.refunded"
    factories.webhook(hand.connection, type=kind, object_id=ref, payment_ref=ref)

    def drain() -> None:
        hand.runtime.draining.set()
        if is_overtaken:
            observed_by_another(hand, payment["id"])

    hand.after_send("fetch", drain)
    hand.run_one("remote")
    a_day_passes(hand, "apply_webhook")
    sandbox.fault(kind="rate_limit_429", method="GET", count=1)
    hand.until(lambda: delivery(hand, "apply_webhook")["status"] != "pending")
    assert delivery(hand, "apply_webhook")["status"] == "done"


def observed_by_another(hand: Hand, payment_id: UUID) -> None:
    with factories.acting(hand.connection, "worker"):
        hand.connection.execute(
            "update payments set observed_version = observed_version + 1 where id = %s", [payment_id]
        )


def test_a_day_without_workers_is_no_dead_letter_of_a_question_about_the_account(hand: Hand, sandbox: Sandbox) -> None:
    request_runs_once(hand.runtime)
    hand.runtime.draining.set()
    hand.run_all()
    a_day_passes(hand, "prove_balance")
    sandbox.fault(kind="rate_limit_429", method="GET", count=1, path="/v1/balance")
    hand.until(lambda: delivery(hand, "prove_balance")["status"] != "pending")
    assert delivery(hand, "prove_balance")["status"] == "done"


def a_day_passes(hand: Hand, handler: str) -> None:
    """The last worker had to leave the delivery; when the next one comes, two caps have passed."""
    left = delivery(hand, handler)
    assert left["deferred_for"] == "draining"
    if left["deferred_since"] is not None:
        age(hand, hand.runtime.timing.deferral_cap * 2)
    hand.runtime.draining.clear()
