"""A payment from initiated to its end, through the real SDK against the sandbox process."""

import pytest

from tests import factories
from tests.fixtures.sandbox import HANGS_UP
from tests.fixtures.worker import Hand

SPINE = [
    "payment.initiated",
    "payment.submission_started",
    "payment.provider_submitted",
    "payment.confirmed",
    "payment.settled",
]


def make(hand: Hand, **columns: object) -> dict:
    return factories.payment(hand.connection, **{"method_token": "pm_card_visa", **columns})


def test_a_card_payment_is_settled_and_tells_the_four_events_of_the_spine(hand: Hand, sandbox) -> None:
    payment = make(hand)
    settled = hand.settle(payment["id"])
    assert (settled["state"], settled["method_last4"]) == ("settled", "4242")
    assert hand.topics(payment["id"]) == SPINE
    assert sandbox.ledger(payment_id=str(payment["id"]))["summary"]["captured"] == {"usd": payment["amount"]}
    assert [row["step"] for row in hand.calls()][:2] == ["create", "confirm"]


def test_a_declined_card_fails_with_the_provider_s_code_and_its_intent_is_closed(hand: Hand, sandbox) -> None:
    payment = make(hand, method_token="pm_card_chargeDeclinedInsufficientFunds")
    failed = hand.settle(payment["id"])
    assert (failed["state"], failed["failure_code"]) == ("failed", "insufficient_funds")
    intent = sandbox.ledger(payment_id=str(payment["id"]))["payments"][0]
    assert intent["status"] == "canceled"


@pytest.mark.parametrize(
    "kind",
    [
        "timeout_before",
        "timeout_after",
        "error_500_before",
        "error_500_saved",
        "error_500_after",
        "conflict_409",
        "rate_limit_429",
        "reset_mid_body",
        "reset_before",
    ],
)
@pytest.mark.parametrize("step", ["", "/*/confirm"])
def test_one_fault_on_the_way_charges_once_and_ends_settled(hand: Hand, sandbox, kind: str, step: str) -> None:
    sandbox.fault(kind=kind, method="POST", path=f"/v1/payment_intents{step}", seconds=HANGS_UP)
    payment = make(hand)
    assert hand.settle(payment["id"])["state"] == "settled"
    summary = sandbox.ledger(payment_id=str(payment["id"]))["summary"]
    assert summary["captured_charges"] == 1
    assert not hand.dead()


def test_an_operation_is_written_once_for_each_call_and_once_for_its_end(hand: Hand, sandbox) -> None:
    hand.connection.execute("create table written (status text, step text, asks integer)")
    hand.connection.execute(
        "create function note() returns trigger language plpgsql security definer set search_path = postbox"
        " as 'begin insert into written values (new.status, new.step, new.asks); return null; end'"
    )
    hand.connection.execute("create trigger noted after update on operations for each row execute function note()")
    sandbox.fault(kind="error_500_before", method="POST", path="/v1/payment_intents")
    payment = make(hand)
    hand.settle(payment["id"])
    written = [tuple(row.values()) for row in hand.connection.execute("select status, step, asks from written")]
    assert written == [
        ("in_flight", "create", 0),
        ("unknown", "create", 1),
        ("in_flight", "create", 1),
        # what was asked about creating slows down no question about money
        ("in_flight", "confirm", 0),
        ("succeeded", "confirm", 0),
    ]
    told = "select action from audit_log where action like 'operation.%%' order by recorded_at, id"
    assert [row["action"] for row in hand.connection.execute(told)] == [
        "operation.requested",
        "operation.unknown",
        "operation.succeeded",
    ]
