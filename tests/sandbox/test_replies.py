"""Holds every reply to Stripe's own OpenAPI description."""

import json
from typing import Any

import pytest

from tests.sandbox.openapi import problems
from tests.sandbox.process import Sandbox


def body(answer: Any) -> Any:
    return json.loads(answer.last_response.body)


def intents(s: Sandbox) -> list[tuple[Any, str]]:
    declined = s.create("pm_card_chargeDeclined")
    s.refusal(lambda: s.confirm(declined.id))
    held = s.pay(capture_method="manual", description="d", receipt_email="a@b.example", metadata={"a": "b"})
    failed = s.pay("pm_usBankAccount_accountClosed")
    s.post("clock", advance=86_401)
    challenged = s.pay("pm_card_authenticationRequired")
    s.post(f"payment_intents/{challenged.id}/authenticate", outcome="success")
    full = ["latest_charge.balance_transaction", "payment_method", "latest_charge.refunds"]
    made = [
        s.client.payment_intents.create({"amount": 1000, "currency": "usd"}),
        s.create(statement_descriptor_suffix="SUFFIX"),
        s.pay(capture_method="automatic"),
        s.client.payment_intents.retrieve(s.pay(capture_method="automatic").id, {"expand": full}),
        s.client.payment_intents.retrieve(s.pay().id, {"expand": full}),
        s.client.payment_intents.retrieve(declined.id, {"expand": ["latest_charge"]}),
        s.client.payment_intents.retrieve(failed.id, {"expand": ["latest_charge"]}),
        s.pay("pm_usBankAccount_success"),
        s.pay("pm_card_authenticationRequired"),
        held,
        s.client.payment_intents.retrieve(challenged.id, {"expand": ["latest_charge"]}),
        s.client.payment_intents.capture(held.id, {"amount_to_capture": 500, "expand": full}),
        s.client.payment_intents.cancel(s.create().id, {"cancellation_reason": "duplicate"}),
    ]
    return [(body(answer), "payment_intent") for answer in made]


def refunds(s: Sandbox) -> list[tuple[Any, str]]:
    wide = ["charge", "payment_intent", "balance_transaction"]
    debit = s.pay("pm_usBankAccount_success")
    s.post("clock", advance=86_401)
    failing = s.client.refunds.create({"payment_intent": s.pay().id, "reason": "duplicate"})
    s.post(f"refunds/{failing.id}/fail")
    made = [
        s.client.refunds.create({"payment_intent": s.pay().id, "amount": 10, "expand": wide}),
        s.client.refunds.create({"payment_intent": debit.id}),
        s.client.refunds.retrieve(failing.id, {"expand": ["failure_balance_transaction"]}),
        s.client.refunds.update(failing.id, {"metadata": {"a": "b"}}),
    ]
    return [(body(answer), "refund") for answer in made]


def disputes(s: Sandbox) -> list[tuple[Any, str]]:
    won = s.post(f"charges/{s.pay().latest_charge.id}/dispute")
    inquiry = s.post(f"charges/{s.pay().latest_charge.id}/dispute", status="warning_needs_response")
    made = [
        s.client.disputes.update(won["id"], {"evidence": {"uncategorized_text": "x"}, "submit": False}),
        s.client.disputes.update(won["id"], {"evidence": {"uncategorized_text": "winning_evidence"}}),
        s.client.disputes.retrieve(inquiry["id"], {"expand": ["charge", "payment_intent"]}),
        s.client.disputes.close(inquiry["id"]),
    ]
    return [(body(answer), "dispute") for answer in made] + [(won, "dispute")]


def money(s: Sandbox) -> list[tuple[Any, str]]:
    s.pay("pm_card_bypassPending", capture_method="automatic", amount=500_000)
    manual = s.client.payouts.create({"amount": 100, "currency": "usd"})
    canceled = s.client.payouts.cancel(s.client.payouts.create({"amount": 100, "currency": "usd"}).id)
    automatic = s.post("payouts")
    s.post("clock", advance=60)
    failed = s.post(f"payouts/{automatic['id']}/fail")
    paid = s.client.payouts.retrieve(manual.id, {"expand": ["balance_transaction"]})
    rows = s.client.balance_transactions.list({"limit": 100, "expand": ["data.source"]})
    return [
        *((body(answer), "payout") for answer in (manual, canceled, paid)),
        (automatic, "payout"),
        (failed, "payout"),
        *((row, "balance_transaction") for row in body(rows)["data"]),
        (body(s.client.balance.retrieve()), "balance"),
        (body(s.client.accounts.retrieve_current()), "account"),
    ]


def lists(s: Sandbox) -> list[tuple[Any, str]]:
    client, ident = s.client, s.pay().id
    return [
        (body(client.payment_intents.list({"limit": 5})), "GET /v1/payment_intents"),
        (body(client.charges.list({"payment_intent": ident})), "GET /v1/charges"),
        (body(client.refunds.list({"limit": 5})), "GET /v1/refunds"),
        (body(client.disputes.list({"limit": 5})), "GET /v1/disputes"),
        (body(client.balance_transactions.list({"limit": 5})), "GET /v1/balance_transactions"),
        (body(client.payouts.list({"limit": 5})), "GET /v1/payouts"),
        (body(client.events.list({"limit": 5})), "GET /v1/events"),
    ]


def errors(s: Sandbox) -> list[tuple[Any, str]]:
    done = s.pay()
    refusals = [
        s.refusal(lambda: s.pay("pm_card_chargeDeclined")),
        s.refusal(lambda: s.confirm(done.id)),
        s.refusal(lambda: s.create(colour="red")),
        s.refusal(lambda: s.client.payment_intents.retrieve("pi_nothing")),
        s.refusal(lambda: s.make_client(20, key="sk_wrong").balance.retrieve()),
    ]
    return [(refusal.json_body, "error") for refusal in refusals]


@pytest.mark.parametrize("make", [intents, refunds, disputes, money, lists, errors], ids=lambda make: make.__name__)
def test_replies_fit_stripes_own_description(shared: Sandbox, make: Any) -> None:
    made = make(shared)
    assert [line for reply, schema in made for line in problems(reply, schema)] == []


def test_every_event_fits_and_carries_an_object_that_fits(shared: Sandbox) -> None:
    for make in (intents, refunds, disputes, money):
        make(shared)
    seen: dict[str, Any] = {}
    cursor: dict[str, Any] = {}
    while True:
        page = body(shared.client.events.list({"limit": 100, **cursor}))
        for event in page["data"]:
            seen.setdefault(event["type"], event)
        if not page["has_more"]:
            break
        cursor = {"starting_after": page["data"][-1]["id"]}
    assert len(seen) >= 20
    found = [line for event in seen.values() for line in problems(event, "event")]
    for event in seen.values():
        if event["data"]["object"]["object"] != "moon":
            found += problems(event["data"]["object"], event["data"]["object"]["object"])
    assert found == []


def test_the_description_refuses_a_reply_that_is_wrong(shared: Sandbox) -> None:
    reply = body(shared.create())
    assert problems({**reply, "status": "paid"}, "payment_intent")
    assert problems({**reply, "amount": "1000"}, "payment_intent")
    assert problems({**reply, "colour": "red"}, "payment_intent")
    assert problems({name: value for name, value in reply.items() if name != "id"}, "payment_intent")
