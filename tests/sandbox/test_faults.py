"""Holds every kind of fault to what it promises: what was executed, what the key remembers, what the client saw."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import stripe
import urllib3

from tests.sandbox.process import KEY, Sandbox, wait_for

# kind, executed, the replay under the same key (None: it executes now), what the client sees: a status or None
# The client is gone after PATIENCE, the server would have held on for HOLD: far enough apart for any machine.
PATIENCE, HOLD = 0.15, 60.0
KINDS = [
    ("timeout_before", False, None, None),
    ("timeout_after", True, 200, None),
    ("error_500_before", False, None, 500),
    ("error_500_saved", False, 500, 500),
    ("error_500_after", True, 500, 500),
    ("conflict_409", False, None, 409),
    ("rate_limit_429", False, None, 429),
    ("reset_before", False, None, None),
    ("reset_mid_body", True, 200, None),
    ("slow", True, 200, None),
]


@pytest.fixture
def sandbox(shared: Sandbox) -> Iterator[Sandbox]:
    yield shared
    shared.delete("faults")


def attempt(act: Callable[[], Any]) -> tuple[int | None, bool]:
    """The status the SDK saw (None: no answer), and whether it was a replay."""
    try:
        headers = act().last_response.headers
        return 200, headers.get("Idempotent-Replayed") == "true"
    except stripe.StripeError as error:
        return error.http_status, (error.headers or {}).get("Idempotent-Replayed") == "true"


def is_past_executing(sandbox: Sandbox, ident: str, kind: str) -> bool:
    """Whether the call that was struck has its answer; one whose client gave up may only just be arriving."""
    struck = sandbox.get("requests", payment_intent=ident, fault=kind)["requests"]
    return [entry["status"] is not None for entry in struck] == [True]


@pytest.mark.parametrize("kind,executed,replay,seen", KINDS)
def test_a_fault_does_what_its_kind_says(
    sandbox: Sandbox, kind: str, executed: bool, replay: int | None, seen: int | None
) -> None:
    intent = sandbox.create()
    sandbox.client = sandbox.make_client(PATIENCE if kind in ("timeout_before", "timeout_after", "slow") else 20)
    sandbox.post("faults", kind=kind, path=f"/v1/payment_intents/{intent.id}/confirm", seconds=HOLD)
    status, _ = attempt(lambda: sandbox.confirm(intent.id, key=f"{kind}-{intent.id}"))
    sandbox.client = sandbox.make_client(20)
    assert status == seen
    wait_for(lambda: is_past_executing(sandbox, intent.id, kind), "the server is past executing")
    assert len(sandbox.ledger(intent.id)["charges"]) == (1 if executed else 0)
    again = attempt(lambda: sandbox.confirm(intent.id, key=f"{kind}-{intent.id}"))
    assert again == ((200, False) if replay is None else (replay, True))
    assert len(sandbox.ledger(intent.id)["charges"]) == (0 if kind == "error_500_saved" else 1)


def test_slow_execute_holds_the_key_and_executes_late(sandbox: Sandbox) -> None:
    intent = sandbox.create()
    sandbox.post("faults", kind="slow_execute", path=f"*{intent.id}/confirm", seconds=HOLD)
    first: list[Any] = []
    thread = threading.Thread(target=lambda: first.append(sandbox.confirm(intent.id, key=f"late-{intent.id}")))
    thread.start()
    wait_for(
        lambda: sandbox.get("requests", payment_intent=intent.id, fault="slow_execute")["count"],
        "the call began",
    )
    error = sandbox.refusal(lambda: sandbox.confirm(intent.id, key=f"late-{intent.id}"))
    assert (error.http_status, error.json_body["error"]["code"]) == (409, "idempotency_key_in_use")
    assert sandbox.ledger(intent.id)["charges"] == []
    sandbox.delete("faults")
    thread.join()
    assert first[0].status == "succeeded"


def test_a_rule_waits_for_its_nth_match_and_ends_after_its_count(sandbox: Sandbox) -> None:
    intent = sandbox.create()
    sandbox.post("faults", kind="error_500_before", method="GET", path=f"*/{intent.id}", nth=2, count=2)
    seen = [attempt(lambda: sandbox.client.payment_intents.retrieve(intent.id))[0] for _ in range(5)]
    assert seen == [200, 500, 500, 200, 200]


def test_a_rule_can_pick_a_payment_by_its_metadata(sandbox: Sandbox) -> None:
    sandbox.post("faults", kind="rate_limit_429", metadata={"payment_id": "p-429"}, count=None)
    assert attempt(lambda: sandbox.create(metadata={"payment_id": "other"}))[0] == 200
    assert attempt(lambda: sandbox.create(metadata={"payment_id": "p-429"}))[0] == 429


def test_a_rule_can_pick_a_payment_by_its_amount_before_anybody_knows_its_id(sandbox: Sandbox) -> None:
    for path in ("/v1/payment_intents", "*/confirm"):
        sandbox.post("faults", kind="error_500_before", path=path, intent={"amount": 1234})
    assert attempt(lambda: sandbox.create(amount=1000))[0] == 200
    assert attempt(lambda: sandbox.create(amount=1234))[0] == 500
    intent = sandbox.create(amount=1234)
    assert attempt(lambda: sandbox.confirm(intent.id))[0] == 500
    assert attempt(lambda: sandbox.confirm(intent.id))[0] == 200


def test_a_reset_is_a_reset_and_not_a_close(sandbox: Sandbox) -> None:
    sandbox.post("faults", kind="reset_before", path="/v1/balance")
    with pytest.raises(requests.ConnectionError, match="reset"):
        requests.get(f"{sandbox.url}/v1/balance", headers={"Authorization": f"Bearer {KEY}"}, timeout=60)


def test_half_of_the_body_arrives_before_the_reset(sandbox: Sandbox) -> None:
    sandbox.post("faults", kind="reset_mid_body", path="/v1/balance")
    key = {"Authorization": f"Bearer {KEY}"}
    with requests.get(f"{sandbox.url}/v1/balance", headers=key, timeout=60, stream=True) as answer:
        half = answer.raw.read1(10_000)
        assert 0 < len(half) < int(answer.headers["Content-Length"])
        with pytest.raises((requests.RequestException, OSError, urllib3.exceptions.HTTPError)):
            answer.raw.read()


def test_a_mistaken_rule_is_refused(sandbox: Sandbox) -> None:
    for wrong in (
        {"kind": "nonsense"},
        {"kind": "slow", "colour": "red"},
        {"seed": 1, "kinds": ["nonsense"]},
    ):
        assert requests.post(f"{sandbox.url}/_sandbox/faults", json=wrong, timeout=60).status_code == 400


def run_plan(sandbox: Sandbox, seed: int, identify_by: str) -> list[str | None]:
    """What befell thirty payments' creates and confirms under a plan, by a reference or their descriptions."""
    kinds = [
        "error_500_before",
        "error_500_saved",
        "error_500_after",
        "conflict_409",
        "rate_limit_429",
        "reset_before",
    ]
    sandbox.post("faults", seed=seed, rate=0.33, kinds=kinds, identify_by=identify_by)
    for number in range(30):
        made: Any = None
        while made is None:
            try:
                made = sandbox.create(metadata={"reference": f"r{number}"}, description=f"payment {number}")
            except stripe.StripeError:
                continue
        attempt(lambda made=made: sandbox.confirm(made.id))
    faults = [entry["fault"] for entry in sandbox.get("requests", method="POST")["requests"]]
    sandbox.delete("faults")
    return faults


@pytest.mark.parametrize("identify_by", ["reference", "description"])
def test_a_seeded_plan_fails_the_same_calls_again(start: Callable[..., Sandbox], identify_by: str) -> None:
    runs = []
    for seed in (7, 7, 8):
        sandbox = start()
        runs.append(run_plan(sandbox, seed, identify_by))
        sandbox.kill()
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert 0.2 < sum(fault is not None for fault in runs[0]) / len(runs[0]) < 0.5
