"""The acceptance scenarios about one payment, one provider and one worker, by their number in the domain's list."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import requests

from app.config import SANDBOX_API_KEY
from app.errors import IllegalTransition, OperationOpen
from app.model.actor import Actor, ActorType, Role
from app.services import requests as wishes
from app.services import webhooks
from app.services.authentication import Caller
from app.services.deliveries import DeliveryKey
from jobs.remote import run_remote
from jobs.runtime import open_runtime, stripe_provider
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.sandbox import HANGS_UP, Sandbox
from tests.fixtures.worker import Hand
from tests.jobs.processes import violations_of

SPINE = ["payment.initiated", "payment.provider_submitted", "payment.confirmed", "payment.settled"]
DAY = 86_400.0


@pytest.fixture(autouse=True)
def invariants_hold(hand: Hand, database: Clone):
    """What `postbox check` looks at holds after every scenario."""
    yield
    assert [
        v for v in violations_of(database.url, quiesced=False) if v.invariant != "closed_payments_hold_no_money"
    ] == []


def pay(hand: Hand, **columns: Any) -> dict[str, Any]:
    return factories.payment(hand.connection, **{"method_token": "pm_card_visa", **columns})


def caller(payment: dict[str, Any]) -> Caller:
    return Caller(payment["merchant_id"], "key-1", livemode=False)


def ask(hand: Hand, payment: dict[str, Any], verb: str, **given: Any) -> Any:
    """What the API does for a capture or a cancel."""
    actor = Actor(ActorType.API, "key-1", Role.API)
    work = getattr(wishes, verb)
    return hand.runtime.database.transact(
        actor, lambda tx: work(tx, caller(payment), payment["id"], **given), merchant_id=str(payment["merchant_id"])
    )


def summary(sandbox: Sandbox, payment: dict[str, Any]) -> dict[str, Any]:
    return sandbox.ledger(payment_id=str(payment["id"]))["summary"]


def intents(sandbox: Sandbox, payment: dict[str, Any]) -> list[dict[str, Any]]:
    return sandbox.ledger(payment_id=str(payment["id"]))["payments"]


def spine(hand: Hand, payment: dict[str, Any]) -> list[str]:
    return [topic for topic in hand.topics(payment["id"]) if topic in SPINE]


def circuit(hand: Hand) -> dict[str, Any]:
    row = hand.connection.execute("select * from circuits").fetchone()
    assert row is not None
    return row


def receive(hand: Hand, type: str, ref: str, *, payment: dict[str, Any] | None = None, event_id: str = "evt_1") -> bool:
    """What the gateway does with a verified webhook."""
    ids = {"payment_id": None, "merchant_id": None}
    if payment is not None:
        ids = {"payment_id": str(payment["id"]), "merchant_id": str(payment["merchant_id"])}
    row = hand.connection.execute("select clock_timestamp() as now").fetchone()
    assert row is not None
    return hand.runtime.database.transact(
        Actor(ActorType.API, "webhook:stripe/default", Role.API),
        lambda tx: webhooks.store(
            tx, provider="stripe", account="default", event_id=event_id, type=type, object_id=ref, payment_ref=ref,
            api_version="2026-10-28.endive", livemode=False, created_at=row["now"], payload={"id": event_id},
            body_sha256="0" * 64, **ids,
        ),
    )  # fmt: skip


def after_send(hand: Hand, step: str, act: Any) -> None:
    """Do something between the provider's answer to this step and its recording, once."""
    send, done = hand.runtime.provider.send, []

    def sent(request: Any) -> Any:
        reply = send(request)
        if request.step == step and not done:
            done.append(True)
            act()
        return reply

    hand.runtime.provider.send = sent  # type: ignore[method-assign]


def give_up_once(hand: Hand, step: str, *, after: float) -> None:
    """The first call of this step waits so many seconds for its answer, and not production's twenty."""
    settings, patient, done = hand.runtime.settings, hand.runtime.provider.send, []
    hasty = stripe_provider(replace(settings, timing=replace(settings.timing, provider_read=after)))

    def sent(request: Any) -> Any:
        if request.step != step or done:
            return patient(request)
        done.append(True)
        return hasty.send(request)

    hand.runtime.provider.send = sent  # type: ignore[method-assign]


def test_scenario_07_a_confirm_that_times_out_but_succeeded_is_unknown_never_failed(
    hand: Hand, sandbox: Sandbox
) -> None:
    sandbox.fault(kind="timeout_after", method="POST", path="/v1/payment_intents/*/confirm", seconds=60)
    give_up_once(hand, "confirm", after=0.5)
    payment = pay(hand)
    assert hand.settle(payment["id"])["state"] == "settled"
    assert hand.calls(step="confirm")[0]["error_class"] == "ReadTimeout"
    topics = hand.topics(payment["id"])
    assert "payment.outcome_unknown" in topics
    assert "payment.failed" not in topics
    assert spine(hand, payment) == SPINE
    assert summary(sandbox, payment)["captured_charges"] == 1


def test_scenario_08_a_create_that_times_out_twice_leaves_one_chargeable_intent(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.fault(kind="timeout_after", method="POST", path="/v1/payment_intents", count=2, seconds=HANGS_UP)
    payment = pay(hand)
    assert hand.settle(payment["id"])["state"] == "settled"
    assert [intent["status"] for intent in intents(sandbox, payment)] == ["succeeded"]


@pytest.mark.parametrize("told", ["before", "after", "never"])
def test_scenario_08_an_orphan_of_a_create_that_was_saved_as_a_500_is_canceled(
    hand: Hand, sandbox: Sandbox, told: str
) -> None:
    """The first object exists, its 500 is replayed for a day, the second is the one that is paid."""
    sandbox.fault(kind="error_500_after", method="POST", path="/v1/payment_intents")
    payment = pay(hand)
    if told == "before":
        after_send(
            hand,
            "create",
            lambda: receive(hand, "payment_intent.created", first_intent(sandbox, payment), payment=payment),
        )
    hand.settle(payment["id"])
    if told == "after":
        receive(hand, "payment_intent.created", orphan(sandbox, payment), payment=payment)
    hand.quiet()
    assert sorted(intent["status"] for intent in intents(sandbox, payment)) == ["canceled", "succeeded"]
    assert hand.payment(payment["id"])["state"] == "settled"
    assert summary(sandbox, payment)["captured_charges"] == 1


def first_intent(sandbox: Sandbox, payment: dict[str, Any]) -> str:
    return str(intents(sandbox, payment)[0]["payment_intent"])


def orphan(sandbox: Sandbox, payment: dict[str, Any]) -> str:
    [left] = [i["payment_intent"] for i in intents(sandbox, payment) if i["status"] != "succeeded"]
    return str(left)


def test_scenario_10_twenty_429s_are_no_dead_letter_and_one_charge(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.fault(kind="rate_limit_429", method="POST", count=20)
    payment = pay(hand)
    assert hand.settle(payment["id"])["state"] == "settled"
    delivery = hand.connection.execute("select * from deliveries where handler = 'submit_payment'").fetchone()
    assert (delivery["failures"], delivery["deferrals"]) == (0, 20)
    assert len(hand.calls(outcome="not_executed")) == 20
    assert summary(sandbox, payment)["captured_charges"] == 1


def test_scenario_11_a_revoked_key_opens_the_circuit_and_fails_nothing(
    hand: Hand, sandbox: Sandbox, database: Clone
) -> None:
    stranger = open_runtime(replace(hand.runtime.settings, stripe_api_key="sk_test_revoked"))
    try:
        other = Hand(stranger, database)
        payments = [pay(hand) for _ in range(6)]
        other.run_all()
        assert (circuit(hand)["state"], circuit(hand)["reason"]) == ("open", "unauthenticated")
        assert len(other.calls()) == 1, "one answer is enough: nobody else asks while the circuit is open"
        other.until(lambda: len(other.calls()) >= 3)
        assert {other.payment(p["id"])["state"] for p in payments} <= {"initiated", "submitting"}
        assert not other.dead()
        assert not hand.connection.execute("select from delivery_failures").fetchall()
    finally:
        stranger.close()
    for payment in payments:
        assert hand.settle(payment["id"])["state"] == "settled"
    assert circuit(hand)["state"] == "closed"


def test_five_calls_without_an_answer_open_the_circuit_and_one_probe_closes_it(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.fault(kind="error_500_before", count=8)
    payments = [pay(hand) for _ in range(4)]
    hand.run_all()
    assert circuit(hand)["state"] == "open"
    assert len(hand.calls()) == 5
    for payment in payments:
        assert hand.settle(payment["id"])["state"] == "settled"
    assert circuit(hand)["state"] == "closed"
    assert not hand.dead()


def test_scenario_13_a_webhook_ahead_of_our_own_answer_tells_the_same_story_once(hand: Hand, sandbox: Sandbox) -> None:
    payment = pay(hand)

    def webhook_first() -> None:
        ref = first_intent(sandbox, payment)
        receive(hand, "payment_intent.succeeded", ref, payment=payment)
        job = hand.connection.execute(
            "select id, args from procrastinate_jobs where args ->> 'handler' = 'apply_webhook'"
        ).fetchone()
        assert run_remote(hand.runtime, DeliveryKey(**job["args"]), job["id"]) == "done"
        assert hand.payment(payment["id"])["state"] == "confirmed"

    after_send(hand, "confirm", webhook_first)
    hand.settle(payment["id"])
    assert spine(hand, payment) == SPINE
    assert summary(sandbox, payment)["captured_charges"] == 1


def test_scenario_18_a_webhook_of_a_payment_not_yet_there_is_applied_when_it_is(
    hand: Hand, sandbox: Sandbox, database: Clone
) -> None:
    """Its payment is in a transaction that commits later."""
    merchant = factories.merchant(hand.connection)["id"]
    slow = database.connect(admin=True, autocommit=False)
    slow.execute("select 1")  # begins it: a block that finds none open would commit
    payment = factories.initiated(slow, merchant)
    ref = create_intent(sandbox, payment)
    receive(hand, "payment_intent.created", ref, payment=payment)
    hand.until(lambda: of_webhook(hand)["deferrals"] >= 2)
    waiting = of_webhook(hand)
    assert (waiting["status"], waiting["deferred_for"], waiting["failures"]) == ("pending", "payment_not_found", 0)
    slow.commit()
    assert hand.settle(payment["id"])["state"] == "settled"
    assert of_webhook(hand)["status"] == "done"
    assert not hand.connection.execute("select from audit_log where action = 'webhook.unrouted'").fetchall()
    assert sorted(intent["status"] for intent in intents(sandbox, payment)) == ["canceled", "succeeded"]


def create_intent(sandbox: Sandbox, payment: dict[str, Any]) -> str:
    """A PaymentIntent that carries our ids and that we never heard of."""
    answer = requests.post(
        f"{sandbox.url}/v1/payment_intents",
        data={
            "amount": payment["amount"],
            "currency": payment["currency"],
            "payment_method": payment["method_token"],
            "metadata[payment_id]": str(payment["id"]),
            "metadata[merchant_id]": str(payment["merchant_id"]),
            "metadata[operation_id]": str(payment["id"]),
        },
        headers={"Authorization": f"Bearer {SANDBOX_API_KEY}"},
        timeout=10,
    )
    assert answer.ok, answer.text
    return str(answer.json()["id"])


def test_a_webhook_of_a_stranger_is_kept_as_evidence_after_a_quarter_of_an_hour(hand: Hand) -> None:
    receive(hand, "payment_intent.succeeded", "pi_of_a_stranger")
    hand.until(lambda: of_webhook(hand)["status"] == "done")
    [entry] = hand.connection.execute("select * from audit_log where action = 'webhook.unrouted'").fetchall()
    assert entry["entity_id"] == "pi_of_a_stranger"
    assert of_webhook(hand)["failures"] == 0


def of_webhook(hand: Hand) -> dict[str, Any]:
    row = hand.connection.execute(
        "select * from deliveries where handler = 'apply_webhook' order by created_at desc limit 1"
    ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("type", ["payment_intent.teleported", "crystal.ball", "charge.dispute.exploded"])
def test_scenario_22_an_unknown_event_is_stored_and_breaks_nothing(hand: Hand, sandbox: Sandbox, type: str) -> None:
    payment = pay(hand)
    settled = hand.settle(payment["id"])
    receive(hand, type, settled["provider_ref"], payment=payment)
    hand.until(lambda: of_webhook(hand)["status"] == "done")
    assert hand.payment(payment["id"])["state"] == "settled"
    assert not hand.connection.execute("select from delivery_failures").fetchall()


def authorized(hand: Hand, **columns: Any) -> dict[str, Any]:
    payment = pay(hand, capture_method="manual", **columns)
    return hand.reach(payment["id"], "authorized")


@pytest.mark.parametrize(("first", "second"), [("capture", "cancel"), ("cancel", "capture")])
def test_scenario_24_of_a_capture_and_a_cancel_exactly_one_wins(
    hand: Hand, sandbox: Sandbox, first: str, second: str
) -> None:
    payment = authorized(hand)
    given = {"capture": {"amount": None}, "cancel": {"reason": "requested"}}
    ask(hand, payment, first, **given[first])
    with pytest.raises(OperationOpen):
        ask(hand, payment, second, **given[second])
    end = hand.settle(payment["id"])
    assert end["state"] == {"capture": "settled", "cancel": "canceled"}[first]
    assert summary(sandbox, payment)["captured_charges"] == (1 if first == "capture" else 0)
    with pytest.raises(IllegalTransition):
        ask(hand, payment, second, **given[second])


def test_scenario_25_what_is_canceled_while_initiated_is_never_sent(hand: Hand, sandbox: Sandbox) -> None:
    payment = pay(hand)
    canceled, operation = ask(hand, payment, "cancel", reason="requested")
    assert (canceled["state"], operation) == ("canceled", None)
    hand.quiet()
    assert hand.calls() == []
    assert intents(sandbox, payment) == []
    assert hand.payment(payment["id"])["cancel_reason"] == "requested"


def test_scenario_25_what_a_worker_has_claimed_is_not_canceled_beside_it(hand: Hand, sandbox: Sandbox) -> None:
    payment = pay(hand)
    refused: list[Exception] = []

    def cancel() -> None:
        try:
            ask(hand, payment, "cancel", reason="requested")
        except IllegalTransition as error:
            refused.append(error)

    after_send(hand, "create", cancel)
    assert hand.settle(payment["id"])["state"] == "settled"
    assert len(refused) == 1


def test_scenario_26_an_authorization_that_expires_is_canceled_and_took_nothing(hand: Hand, sandbox: Sandbox) -> None:
    payment = authorized(hand)
    sandbox.advance(8 * DAY)
    receive(hand, "charge.expired", payment["provider_ref"], payment=payment)
    end = hand.reach(payment["id"], "canceled")
    assert (end["cancel_reason"], end["amount_captured"]) == ("authorization_expired", 0)
    hand.quiet()
    assert not hand.connection.execute("select from provider_transactions").fetchall()


def test_scenario_26_a_capture_too_late_ends_canceled_without_a_dead_letter(hand: Hand, sandbox: Sandbox) -> None:
    payment = authorized(hand)
    sandbox.advance(8 * DAY)
    ask(hand, payment, "capture", amount=None)
    assert hand.settle(payment["id"])["state"] == "canceled"
    assert not hand.dead()
    [operation] = hand.connection.execute("select * from operations where kind = 'capture'").fetchall()
    assert (operation["status"], operation["outcome"]) == ("failed", "overtaken")


def test_scenario_27_capturing_600_of_1000_takes_600_in_one_line(hand: Hand, sandbox: Sandbox) -> None:
    payment = authorized(hand)
    ask(hand, payment, "capture", amount=600)
    end = hand.settle(payment["id"])
    assert (end["state"], end["amount"], end["amount_captured"]) == ("settled", 1_000, 600)
    [line] = hand.connection.execute("select * from provider_transactions").fetchall()
    assert (line["kind"], line["gross"], line["net"]) == ("charge", 600, 600 - line["fee"])
    assert summary(sandbox, payment)["captured"] == {"usd": 600}


@pytest.mark.parametrize("verb", ["capture", "cancel"])
@pytest.mark.parametrize(
    "kind", ["timeout_before", "timeout_after", "error_500_saved", "error_500_after", "reset_mid_body"]
)
def test_a_capture_or_cancel_without_an_answer_is_resolved_by_asking(
    hand: Hand, sandbox: Sandbox, verb: str, kind: str
) -> None:
    payment = authorized(hand)
    sandbox.fault(kind=kind, method="POST", path=f"/v1/payment_intents/*/{verb}", seconds=HANGS_UP)
    ask(hand, payment, verb, **({"amount": 700} if verb == "capture" else {"reason": "duplicate"}))
    end = hand.settle(payment["id"])
    assert end["state"] == {"capture": "settled", "cancel": "canceled"}[verb]
    assert end["amount_captured"] == (700 if verb == "capture" else 0)
    assert not hand.dead()


def test_scenario_28_who_never_comes_back_is_canceled_at_the_provider_first(hand: Hand, sandbox: Sandbox) -> None:
    payment = pay(hand, method_token="pm_card_threeDSecure2Required")
    waiting = hand.reach(payment["id"], "requires_action")
    assert waiting["next_action_url"]
    with factories.acting(hand.connection, "worker"):
        hand.connection.execute("update payments set action_expires_at = clock_timestamp()")
    end = hand.settle(payment["id"])
    assert (end["state"], end["cancel_reason"]) == ("canceled", "action_expired")
    [intent] = intents(sandbox, payment)
    assert intent["status"] == "canceled"
    with pytest.raises(AssertionError, match="4"):
        sandbox.control("POST", f"payment_intents/{intent['payment_intent']}/authenticate", outcome="success")


def test_a_balance_available_in_three_days_is_waited_for_and_no_dead_letter(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.control("POST", "timing", available_after=3 * DAY)
    payment = pay(hand)
    hand.until(lambda: hand.connection.execute("select from provider_transactions").fetchone() is not None)
    hand.quiet()
    waiting = hand.payment(payment["id"])
    assert waiting["state"] == "confirmed"
    assert (waiting["observe_at"] - waiting["confirmed_at"]).total_seconds() > 2.9 * DAY
    for _ in range(3):
        hand.sweep()
        assert hand.run_all() == 0, "nobody asks before the day"
    sandbox.advance(3 * DAY + 60)
    with factories.acting(hand.connection, "worker"):
        hand.connection.execute("update payments set observe_at = clock_timestamp()")
    assert hand.settle(payment["id"])["state"] == "settled"
    assert spine(hand, payment) == SPINE
    assert not hand.dead()


def test_a_balance_event_of_the_provider_settles_what_became_available(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.control("POST", "timing", available_after=60)
    payment = pay(hand)
    hand.until(lambda: hand.connection.execute("select from provider_transactions").fetchone() is not None)
    hand.quiet()
    sandbox.advance(61)
    available = hand.connection.execute("select available_on from provider_transactions").fetchone()["available_on"]
    store_balance_event(hand, available)
    assert hand.settle(payment["id"])["state"] == "settled"


def store_balance_event(hand: Hand, at: Any) -> None:
    hand.runtime.database.transact(
        Actor(ActorType.API, "webhook:stripe/default", Role.API),
        lambda tx: webhooks.store(
            tx, provider="stripe", account="default", event_id="evt_balance", type="balance.available", object_id=None,
            payment_ref=None, payment_id=None, merchant_id=None, api_version=None, livemode=False, created_at=at,
            payload={"id": "evt_balance"}, body_sha256="0" * 64,
        ),
    )  # fmt: skip
