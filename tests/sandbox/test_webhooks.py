"""Holds the webhooks to Stripe's promises: signed, at least once, in no particular order, retried."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import stripe

from tests.sandbox.process import SECRET, Receiver, Sandbox, wait_for


@pytest.fixture
def sandbox(start: Callable[..., Sandbox], receiver: Receiver) -> Sandbox:
    return start("--webhook-url", receiver.url, "--webhook-secret", SECRET, "--time-scale", "0.02")


def construct(body: bytes, signature: str) -> Any:
    return stripe.Webhook.construct_event(body, signature, SECRET)


def test_the_sdk_accepts_the_signature_and_the_event_is_the_one_in_the_api(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    intent = sandbox.pay()
    wait_for(lambda: receiver.bodies("payment_intent.succeeded"), "the webhook")
    for body, signature in list(receiver.seen):
        event = construct(body, signature)
        assert event.api_version == "2026-10-28.endive"
        assert sandbox.client.events.retrieve(event.id).type == event.type
    event = json.loads(receiver.bodies("payment_intent.succeeded")[0])
    assert event["data"]["object"]["id"] == intent.id
    assert event["request"]["id"].startswith("req_")


def test_the_signature_is_of_the_real_time_whatever_the_sandboxs_clock_says(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    sandbox.post("clock", advance=30 * 86400)
    sandbox.create()
    wait_for(lambda: receiver.seen, "the webhook")
    assert construct(*receiver.seen[0]).type == "payment_intent.created"


def test_a_refused_delivery_is_tried_again_until_it_is_taken(sandbox: Sandbox, receiver: Receiver) -> None:
    answers = [500, 503, 302, 200]
    receiver.answer = lambda body: answers.pop(0) if len(answers) > 1 else answers[0]
    sandbox.create()
    wait_for(lambda: len(receiver.seen) == 4, "four attempts")
    wait_for(lambda: sandbox.get("health")["undelivered_events"] == 0, "nothing left")
    assert len({body for body, _ in receiver.seen}) == 1
    log = sandbox.get("webhooks", type="payment_intent.created")["deliveries"]
    assert [(entry["attempt"], entry["status"]) for entry in log] == [(1, 500), (2, 503), (3, 302), (4, 200)]


def test_a_receiver_that_is_not_there_yet_gets_it_when_it_is(start: Callable[..., Sandbox]) -> None:
    late = Receiver()
    late.stop()
    sandbox = start("--webhook-url", late.url, "--time-scale", "0.02")
    sandbox.create()
    wait_for(lambda: sandbox.get("webhooks")["deliveries"], "a failed attempt")
    assert sandbox.get("webhooks")["deliveries"][0]["status"] is None
    assert sandbox.get("health")["undelivered_events"] == 1


def test_paused_webhooks_wait_and_flush_sends_them(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.post("webhooks/pause")
    sandbox.pay()
    assert receiver.seen == []
    assert sandbox.post("webhooks/flush") == {"queued": 0}
    assert len(receiver.bodies("payment_intent.succeeded")) == 1


def test_an_event_can_be_sent_again_five_times_at_once(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.create()
    wait_for(lambda: receiver.seen, "the webhook")
    event = sandbox.client.events.list().data[0]
    assert sandbox.post(f"events/{event.id}/redeliver", count=5, parallel=True) == {"statuses": [200] * 5}
    assert len(receiver.bodies("payment_intent.created")) == 6


def test_any_event_can_be_sent_even_one_that_stripe_does_not_know(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.post("events", type="moon.risen", object={"id": "moon_1", "object": "moon"})
    wait_for(lambda: receiver.bodies("moon.risen"), "the webhook")
    assert construct(*receiver.seen[0]).data.object.id == "moon_1"


def test_an_endpoint_gets_only_what_it_asked_for(sandbox: Sandbox, receiver: Receiver) -> None:
    other = Receiver()
    try:
        sandbox.post("webhooks/endpoints", url=other.url, secret="whsec_o", enabled_events=["payment_intent.succeeded"])
        sandbox.pay()
        wait_for(lambda: other.seen, "the webhook")
        wait_for(lambda: sandbox.get("health")["undelivered_events"] == 0, "nothing left")
        assert [json.loads(body)["type"] for body, _ in other.seen] == ["payment_intent.succeeded"]
        assert len(receiver.seen) >= 3
    finally:
        other.stop()


# -- faults -----------------------------------------------------------------------------------------------------


def test_a_duplicate_is_the_same_event_twice(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.post("faults", kind="webhook_duplicate", event="payment_intent.created")
    sandbox.create()
    wait_for(lambda: len(receiver.seen) == 2, "two deliveries")
    assert receiver.seen[0][0] == receiver.seen[1][0]


def test_a_reordered_event_comes_after_a_later_one(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.post("faults", kind="webhook_reordered", event="payment_intent.created", seconds=60)
    sandbox.pay()
    wait_for(lambda: receiver.bodies("payment_intent.created"), "the held one")
    assert json.loads(receiver.seen[0][0])["type"] != "payment_intent.created"


def test_a_late_event_comes_late(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.post("faults", kind="webhook_late", event="payment_intent.created", seconds=0.3)
    sandbox.create()
    before = sandbox.get("health")["started"]
    wait_for(lambda: receiver.seen, "the late one")
    # it is written down when its answer came, so a moment after it was seen
    [entry] = wait_for(lambda: sandbox.get("webhooks")["deliveries"], "its line in the log")
    made = sandbox.get("requests", path="/v1/payment_intents")["requests"][0]["at"]
    assert before < made <= entry["at"] - 0.3


def test_a_dropped_event_never_comes_but_is_in_the_api(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.post("faults", kind="webhook_dropped", event="payment_intent.created")
    sandbox.create()
    sandbox.create()
    wait_for(lambda: receiver.seen, "the second")
    assert sandbox.get("health")["undelivered_events"] == 0
    assert len(receiver.seen) == 1
    assert len(sandbox.client.events.list({"type": "payment_intent.created"}).data) == 2


@pytest.mark.parametrize("kind", ["webhook_bad_signature", "webhook_stale"])
def test_a_wrong_signature_is_refused_by_the_sdk_and_the_retry_is_right(
    sandbox: Sandbox, receiver: Receiver, kind: str
) -> None:
    verdicts: list[bool] = []

    def judge(body: bytes) -> int:
        return 200 if len(receiver.seen) else 400

    receiver.answer = judge
    sandbox.post("faults", kind=kind, event="payment_intent.created")
    sandbox.create()
    wait_for(lambda: len(receiver.seen) == 2, "the retry")
    for body, signature in receiver.seen:
        try:
            construct(body, signature)
            verdicts.append(True)
        except stripe.SignatureVerificationError:
            verdicts.append(False)
    assert verdicts == [False, True]
