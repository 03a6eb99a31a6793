"""What nobody told us: the provider is asked by the hour and the day, and everything converges without a webhook."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests

from app.config import PLATFORM_MERCHANT_ID, SANDBOX_API_KEY
from app.model.actor import Actor, ActorType, Role
from app.services.checks import violations
from jobs.provider_runs import compare_ledger_once, compare_night_once, prove_again_once, request_runs_once
from tests import factories
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.worker import Hand
from tests.ledger.books import books

# how long a stranger's webhook and its line are waited for
QUARTER_OF_AN_HOUR_IS_A_SECOND = {"silence": 1 / 900, "unrouted_for": 1.0}
READER = Actor(ActorType.OPERATOR, "ann", Role.OPERATOR)


def poll(hand: Hand) -> None:
    """Another hour has come: ask for its changes, and do everything that follows."""
    hand.connection.execute("delete from reconciliation_runs where status = 'finished' and kind <> 'payout'")
    assert request_runs_once(hand.runtime) == 4
    hand.until(lambda: not hand.open_deliveries() and not unfinished(hand))


def unfinished(hand: Hand) -> list[dict[str, Any]]:
    compare_night_once(hand.runtime)
    compare_ledger_once(hand.runtime)
    return hand.connection.execute("select kind from reconciliation_runs where status <> 'finished'").fetchall()


def settled(hand: Hand, **columns: Any) -> dict[str, Any]:
    p = factories.payment(hand.connection, **{"method_token": "pm_card_visa", **columns})
    return hand.settle(p["id"])


def charge_of(sandbox: Sandbox, p: dict[str, Any]) -> str:
    [payment] = sandbox.ledger(payment_id=str(p["id"]))["payments"]
    return str(payment["charges"][0]["id"])


def rows(hand: Hand, statement: str) -> list[dict[str, Any]]:
    return hand.connection.execute(statement).fetchall()


def test_without_a_single_webhook_every_change_is_found_and_stored_in_the_same_inbox(
    hand: Hand, sandbox: Sandbox
) -> None:
    p = settled(hand)
    assert rows(hand, "select * from webhooks") == []
    poll(hand)
    found = rows(hand, "select type, received_by from webhooks")
    assert {row["type"] for row in found} >= {"payment_intent.succeeded", "charge.succeeded"}
    assert {row["received_by"] for row in found} == {"poll"}
    poll(hand)
    assert len(rows(hand, "select * from webhooks")) == len(found)
    assert hand.payment(p["id"])["state"] == "settled"
    assert hand.runtime.database.transact(READER, lambda tx: violations(tx, quiesced=True)) == []


def test_a_dispute_that_nobody_told_us_of_is_found_with_its_money(hand: Hand, sandbox: Sandbox) -> None:
    p = settled(hand)
    sandbox.control("POST", f"charges/{charge_of(sandbox, p)}/dispute")
    poll(hand)
    lines = rows(hand, "select kind, payment_id from provider_transactions")
    assert {"kind": "dispute", "payment_id": p["id"]} in lines


def stranger(sandbox: Sandbox, **metadata: object) -> str:
    """A charge that was made with our account and not by us; the payment intent."""
    named = {f"metadata[{name}]": str(value) for name, value in metadata.items()}
    answer = requests.post(
        f"{sandbox.url}/v1/payment_intents",
        data={
            "amount": 700, "currency": "usd", "payment_method": "pm_card_bypassPending", "confirm": "true",
            "return_url": "https://shop.example/back", "allowed_payment_method_types[]": "card", **named,
        },
        headers={"Authorization": f"Bearer {SANDBOX_API_KEY}", "Idempotency-Key": str(uuid4())},
        timeout=10,
    )  # fmt: skip
    assert answer.ok, answer.text
    return str(answer.json()["id"])


def test_scenario_19_a_charge_of_a_stranger_waits_in_suspense_and_is_missing_here(hand: Hand, sandbox: Sandbox) -> None:
    stranger(sandbox)
    hand.retime(**QUARTER_OF_AN_HOUR_IS_A_SECOND)
    poll(hand)
    nobodys = {"merchant_id": UUID(PLATFORM_MERCHANT_ID), "payment_id": None}
    assert rows(hand, "select merchant_id, payment_id from provider_transactions") == [nobodys]
    assert books(hand.connection)["suspense:stripe"] == {"usd": -700}
    hand.until(lambda: rows(hand, "select from discrepancies"))
    assert [row["type"] for row in rows(hand, "select type from discrepancies")] == ["missing_here"]


def test_a_late_match_moves_the_line_to_its_payment_and_out_of_suspense(hand: Hand, sandbox: Sandbox) -> None:
    late, merchant_id = uuid4(), factories.merchant(hand.connection)["id"]
    intent = stranger(sandbox, payment_id=late, merchant_id=merchant_id, operation_id=uuid4())
    usual = hand.runtime.timing.silence
    hand.retime(**QUARTER_OF_AN_HOUR_IS_A_SECOND)
    poll(hand)
    hand.until(lambda: rows(hand, "select from discrepancies where type = 'missing_here'"))
    hand.retime(silence=usual)
    p = factories.payment(hand.connection, "submitting", merchant_id=merchant_id, id=late, amount=700)
    factories.advance(hand.connection, p, "submitted", provider_ref=intent)
    # it was submitted long ago, by a worker that could not say so
    hand.connection.execute(
        "update deliveries set status = 'done', done_at = now(), job_id = null where handler = 'submit_payment'"
    )
    poll(hand)
    hand.sweep()
    assert hand.payment(late)["state"] in ("confirmed", "settled")
    assert "suspense:stripe" not in books(hand.connection)
    found = rows(hand, "select status, resolution_code from discrepancies where type = 'missing_here'")
    assert found == [{"status": "auto_resolved", "resolution_code": "met"}]


@pytest.fixture
def paid_out(hand: Hand, sandbox: Sandbox) -> str:
    """Two settled payments, and the payout of what they brought, on its way."""
    settled(hand), settled(hand, amount=2_500)
    hand.until(lambda: sandbox.ledger()["summary"]["balance"]["available"].get("usd", 0) > 0)
    return str(sandbox.control("POST", "payouts")["id"])


def arrived(hand: Hand, sandbox: Sandbox) -> None:
    sandbox.advance(10 * 86_400)
    poll(hand)


def test_a_payout_is_the_sum_of_its_lines_and_reaches_our_bank(hand: Hand, sandbox: Sandbox, paid_out: str) -> None:
    arrived(hand, sandbox)
    [payout] = rows(hand, "select * from payouts")
    assert (payout["ref"], payout["status"], payout["lines_read_at"] is not None) == (paid_out, "paid", True)
    lines = rows(hand, "select kind, net from provider_transactions where payout_ref is not null")
    assert sum(line["net"] for line in lines if line["kind"] != "payout") == payout["amount"]
    held = books(hand.connection)
    assert held["bank:ba_sandbox"] == {"usd": payout["amount"]}
    assert "cash_in_transit" not in held and "stripe:available" not in held
    assert rows(hand, "select type from discrepancies") == []


def test_a_payout_that_fails_after_it_was_paid_is_taken_back(hand: Hand, sandbox: Sandbox, paid_out: str) -> None:
    arrived(hand, sandbox)
    sandbox.control("POST", f"payouts/{paid_out}/fail")
    poll(hand)
    [payout] = rows(hand, "select * from payouts")
    assert payout["status"] == "failed"
    held = books(hand.connection)
    assert "bank:ba_sandbox" not in held and "cash_in_transit" not in held
    assert held["stripe:available"] == {"usd": payout["amount"]}


def test_a_payout_whose_lines_are_not_its_amount_is_flagged(hand: Hand, sandbox: Sandbox, paid_out: str) -> None:
    arrived(hand, sandbox)
    with hand.connection.transaction():
        hand.connection.execute("alter table payouts disable trigger all")
        hand.connection.execute("update payouts set amount = amount + 7")
        hand.connection.execute("alter table payouts enable trigger all")
    sandbox.control("POST", "events", type="payout.updated", object={"id": paid_out, "object": "payout"})
    poll(hand)
    [found] = rows(hand, "select type, expected - actual as short, subject from discrepancies")
    assert found == {"type": "payout_mismatch", "short": 7, "subject": f"payout/stripe/default/{paid_out}"}


def test_the_balance_of_the_provider_is_what_our_books_say(hand: Hand) -> None:
    settled(hand)
    poll(hand)
    [proof] = rows(hand, "select found from reconciliation_runs where kind = 'balance'")
    assert proof["found"]["usd"]["expected"] == proof["found"]["usd"]["actual"] > 0


def ask_for_changes(hand: Hand) -> None:
    with factories.acting(hand.connection, "reconciler"):
        hand.connection.execute(
            "insert into reconciliation_runs (merchant_id, kind, provider, account, subject, asked_by)"
            " select merchant_id, 'changes', provider, account, 'now', 'ann' from provider_accounts"
        )


def rewrite(hand: Hand, p: dict[str, Any], by: int) -> None:
    """A hand in the books: each line about the payment says so much more."""
    with hand.connection.transaction():
        hand.connection.execute("alter table ledger_lines disable trigger all")
        hand.connection.execute("update ledger_lines set amount = amount + %s where payment_id = %s", [by, p["id"]])
        hand.connection.execute("alter table ledger_lines enable trigger all")


def test_a_balance_that_differs_however_often_it_is_asked_is_flagged_and_closes_soon_after_it_agrees(
    hand: Hand,
) -> None:
    p = settled(hand)
    hand.runtime = replace(
        hand.runtime,
        settings=replace(hand.runtime.settings, timing=replace(hand.runtime.timing, balance_again=(0.01, 0.01))),
    )
    rewrite(hand, p, 5)
    poll(hand)
    mismatch = "select expected - actual as over, ref, status from discrepancies where type = 'balance_mismatch'"
    [found] = rows(hand, mismatch)
    assert (found["ref"], found["status"]) == ("usd", "open")
    hand.until(lambda: hand.open_deliveries() == [] and prove_again_once(hand.runtime) == 1)
    hand.quiet()
    assert [row["status"] for row in rows(hand, mismatch)] == ["open"], "proved again, and it still differs"
    rewrite(hand, p, -5)
    # what is read of the provider's changes has it proved as well
    settled(hand)
    ask_for_changes(hand)
    hand.until(lambda: [row["status"] for row in rows(hand, mismatch)] == ["auto_resolved"])
    hand.quiet()
    assert prove_again_once(hand.runtime) == 0, "nothing differs that is to be proved again"


def test_each_window_of_time_is_asked_for_once_by_whichever_worker_is_first(hand: Hand) -> None:
    slow = replace(hand.runtime.timing, changes_every=1e6, balance_every=1e6, night_every=1e6)
    runtime = replace(hand.runtime, settings=replace(hand.runtime.settings, timing=slow))
    assert [request_runs_once(runtime), request_runs_once(runtime)] == [4, 0]


def test_a_change_that_asking_found_is_missing_its_webhook_an_hour_later_though_it_is_applied(hand: Hand) -> None:
    settled(hand)
    hand.retime(silence=0.0)
    poll(hand)
    told = rows(hand, "select provider_event_id as ref from webhooks where payment_ref is not null order by 1")
    still_open = "select ref from discrepancies where closed_at is null and type = 'webhook_missing' order by 1"
    assert told == hand.until(lambda: found if len(found := rows(hand, still_open)) == len(told) else [])
