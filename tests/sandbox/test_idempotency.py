"""Holds the key store to Stripe's rules (https://docs.stripe.com/api/idempotent_requests)."""

import threading
from collections.abc import Callable
from typing import Any

from tests.sandbox.process import Sandbox


def create(sandbox: Sandbox, key: str, amount: int = 1000) -> Any:
    return sandbox.client.payment_intents.create({"amount": amount, "currency": "usd"}, {"idempotency_key": key})


def test_a_decline_is_replayed_like_a_success(shared: Sandbox) -> None:
    intent = shared.create("pm_card_chargeDeclined")
    first = shared.refusal(lambda: shared.confirm(intent.id, key=f"declined-{intent.id}"))
    second = shared.refusal(lambda: shared.confirm(intent.id, key=f"declined-{intent.id}"))
    assert second.http_body == first.http_body
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(shared.ledger(intent.id)["charges"]) == 1


def test_a_refusal_by_state_is_remembered_because_execution_began(shared: Sandbox) -> None:
    intent = shared.create()
    options: Any = {"idempotency_key": f"early-{intent.id}"}
    shared.refusal(lambda: shared.client.payment_intents.capture(intent.id, {}, options))
    again = shared.refusal(lambda: shared.client.payment_intents.capture(intent.id, {}, options))
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_wrong_key_a_conflict_and_a_validation_are_not_remembered(shared: Sandbox) -> None:
    key = "not-remembered"
    wrong = shared.make_client(20, key="sk_test_wrong")
    options: Any = {"idempotency_key": key}
    shared.refusal(lambda: wrong.payment_intents.create({"amount": 1000, "currency": "usd"}, options))
    for kind in ("conflict_409", "rate_limit_429"):
        shared.post("faults", kind=kind, key=key)
        shared.refusal(lambda: create(shared, key))
    shared.refusal(lambda: create(shared, key, amount=1))
    assert shared.get("idempotency", key=key)["record"] is None
    assert create(shared, key).amount == 1000


def test_one_key_for_two_endpoints_is_an_error(shared: Sandbox) -> None:
    intent = create(shared, "two-endpoints")
    options: Any = {"idempotency_key": "two-endpoints"}
    error = shared.refusal(lambda: shared.client.payment_intents.cancel(intent.id, {}, options))
    assert type(error).__name__ == "IdempotencyError"


def test_the_order_of_parameters_does_not_matter(shared: Sandbox) -> None:
    options: Any = {"idempotency_key": "ordered"}
    one = shared.client.payment_intents.create({"amount": 1000, "currency": "usd"}, options)
    two = shared.client.payment_intents.create({"currency": "usd", "amount": 1000}, options)
    assert one.id == two.id


def test_ten_at_once_with_one_key_execute_once(shared: Sandbox) -> None:
    intent = shared.create()
    seen: list[int] = []

    def confirm() -> None:
        try:
            shared.confirm(intent.id, key=f"ten-{intent.id}")
            seen.append(200)
        except Exception as error:
            seen.append(getattr(error, "http_status", 0))

    threads = [threading.Thread(target=confirm) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) <= {200, 409}
    assert seen.count(200) >= 1
    assert len(shared.ledger(intent.id)["charges"]) == 1


def test_a_pruned_key_executes_again(shared: Sandbox) -> None:
    first = create(shared, "pruned")
    assert create(shared, "pruned").id == first.id
    assert shared.post("idempotency/prune", key="pruned") == {"pruned": 1}
    assert create(shared, "pruned").id != first.id


def test_a_key_is_forgotten_after_a_day_of_the_sandboxs_clock(start: Callable[..., Sandbox]) -> None:
    sandbox = start()
    first = create(sandbox, "day")
    sandbox.post("clock", advance=86_390)
    assert create(sandbox, "day").id == first.id
    sandbox.post("clock", advance=11)
    assert sandbox.get("idempotency", key="day")["record"] is None
    assert create(sandbox, "day").id != first.id


def test_a_key_has_at_most_255_characters(shared: Sandbox) -> None:
    assert create(shared, "k" * 255).amount == 1000
    assert shared.refusal(lambda: create(shared, "k" * 256)).http_status == 400
