"""Holds the sandbox's clock: it is set, it never runs back, and what falls due is dated when it fell due."""

from collections.abc import Callable

import requests

from tests.sandbox.process import Receiver, Sandbox, wait_for


def test_the_clock_does_not_run_backwards(shared: Sandbox) -> None:
    now = shared.get("clock")["now"]
    for wrong in ({"advance": -1}, {"set": now - 10}, {"advance": "soon"}):
        assert requests.post(f"{shared.url}/_sandbox/clock", json=wrong, timeout=60).status_code == 400
    assert shared.get("clock")["now"] >= now


def test_a_chain_of_due_things_happens_in_one_advance_each_at_its_time(start: Callable[..., Sandbox]) -> None:
    sandbox = start("--bank-after", "86400", "--available-after", "172800")
    intent = sandbox.pay("pm_usBankAccount_success")
    sandbox.post("clock", advance=30 * 86_400)
    events = {event.type: event for event in sandbox.client.events.list({"limit": 100}).data}
    assert events["payment_intent.succeeded"].created - intent.created in (86_400, 86_401)
    assert 259_199 <= events["balance.available"].created - intent.created <= 259_202
    assert sandbox.get("ledger")["summary"]["balance"] == {"available": {"usd": 992}, "pending": {"usd": 0}}


def test_time_passes_by_itself_too(start: Callable[..., Sandbox], receiver: Receiver) -> None:
    sandbox = start("--time-scale", "0.02", "--webhook-url", receiver.url)
    sandbox.pay()
    for topic in ("charge.updated", "balance.available"):
        wait_for(lambda topic=topic: receiver.bodies(topic), topic)


def test_an_authorization_that_was_captured_does_not_expire(shared: Sandbox) -> None:
    intent = shared.pay(capture_method="manual")
    shared.client.payment_intents.capture(intent.id)
    shared.post("clock", advance=8 * 86_400)
    assert shared.client.payment_intents.retrieve(intent.id).status == "succeeded"


def test_durations_can_be_changed_while_it_runs(start: Callable[..., Sandbox]) -> None:
    sandbox = start("--balance-after", "600")
    sandbox.post("timing", balance_after=0)
    intent = sandbox.pay()
    wait_for(lambda: sandbox.ledger(intent.id)["charges"][0]["balance_transaction"], "the balance transaction")
    answer = requests.post(f"{sandbox.url}/_sandbox/timing", json={"nonsense": 1}, timeout=60)
    assert answer.status_code == 400
