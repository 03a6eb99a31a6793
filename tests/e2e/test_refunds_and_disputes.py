"""The acceptance scenarios of refunds and disputes, by their number in the domain's list."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from app.errors import IllegalTransition, Invalid
from app.model.actor import Actor, ActorType, Role
from app.services.status import overview
from tests import factories
from tests.fixtures.sandbox import HANGS_UP
from tests.fixtures.shop import Shop

DAY = 86_400.0
READER = Actor(ActorType.OPERATOR, "ann", Role.OPERATOR)
# What the sandbox charges for a dispute, and for a card payment of 10.00.
DISPUTE_FEE, FEE = 1_500, 59


def test_scenario_16_a_dispute_that_is_lost_before_we_heard_of_it_is_charged_back(shop: Shop) -> None:
    payment = shop.pay()
    shop.decide(shop.dispute(payment), "lose")
    end = shop.after("charge.dispute.closed", payment)
    assert (end["state"], end["amount_lost"], end["amount_disputed"]) == ("charged_back", 1_000, 0)
    told = ["dispute.opened", "dispute.funds_withdrawn", "dispute.lost"]
    assert shop.topics(payment, "dispute") == told
    again = shop.after("charge.dispute.created", payment)
    assert (again["state"], shop.topics(payment, "dispute")) == ("charged_back", told)
    assert shop.hand.topics(payment["id"])[-2:] == ["payment.disputed", "payment.charged_back"]
    assert shop.owed(payment) == 0


def test_scenario_17_a_refund_that_failed_before_we_heard_of_it_leaves_the_merchants_balance(shop: Shop) -> None:
    payment = shop.pay()
    before = shop.owed(payment)
    refund = shop.refund_in_dashboard(payment, 1_000)
    shop.sandbox.control("POST", f"refunds/{refund}/fail")
    end = shop.after("refund.failed", payment)
    assert (end["state"], end["amount_refunded"], shop.owed(payment)) == ("settled", 0, before)
    found = shop.child("refunds", payment)
    assert (found["state"], found["origin"], found["failure_reason"]) == ("failed", "provider", "lost_or_stolen_card")
    shop.after("refund.created", payment)
    assert shop.child("refunds", payment)["version"] == found["version"]


def test_scenario_29_of_two_refunds_of_700_of_1000_one_is_accepted(shop: Shop) -> None:
    payment = shop.pay()
    shop.refund(payment, 700)
    with pytest.raises(Invalid):
        shop.refund(payment, 700)
    end = shop.quiet(payment)
    assert (end["state"], end["amount_refunded"], end["amount_refund_pending"]) == ("settled", 700, 0)
    assert shop.owed(payment) == 300
    assert len(shop.refund_posts()) == 1


def test_scenario_30_a_refund_that_fails_five_days_later_is_credited_again_once(shop: Shop) -> None:
    payment = shop.pay()
    shop.refund(payment)
    refunded = shop.quiet(payment)
    assert (refunded["state"], shop.owed(payment)) == ("refunded", 0)
    shop.sandbox.advance(5 * DAY)
    shop.sandbox.control("POST", f"refunds/{shop.child('refunds', payment)['provider_ref']}/fail")
    for webhook in ("refund.updated", "refund.failed", "charge.refund.updated"):
        end = shop.after(webhook, payment)
        assert (end["state"], end["amount_refunded"], shop.owed(payment)) == ("settled", 0, 1_000)
    assert shop.hand.topics(payment["id"])[-2:] == ["payment.refunded", "payment.refund_reversed"]


def test_scenario_31_a_full_refund_before_settlement_settles_later_and_says_so_once(shop: Shop) -> None:
    shop.sandbox.control("POST", "timing", available_after=60)
    payment = shop.pay("confirmed")
    shop.refund(payment)
    refunded = shop.quiet(payment)
    assert (refunded["state"], refunded["settled_at"]) == ("refunded", None)
    shop.sandbox.advance(61)
    for _ in range(2):
        end = shop.after("charge.updated", payment)
    assert (end["state"], end["settled_at"] is not None) == ("refunded", True)
    assert shop.hand.topics(payment["id"]).count("payment.settled") == 1
    assert shop.owed(payment) == 0


def test_scenario_32_a_disputed_payment_is_refused_a_refund_before_anybody_is_called(shop: Shop) -> None:
    payment = shop.pay()
    shop.dispute(payment)
    assert shop.after("charge.dispute.created", payment)["state"] == "disputed"
    with pytest.raises(IllegalTransition):
        shop.refund(payment)
    shop.quiet(payment)
    assert shop.refund_posts() == []


def test_scenario_33_a_dispute_won_after_a_full_refund_leaves_it_refunded(shop: Shop) -> None:
    payment = shop.pay()
    shop.refund(payment)
    shop.quiet(payment)
    dispute = shop.dispute(payment)
    disputed = shop.after("charge.dispute.funds_withdrawn", payment)
    assert (disputed["state"], shop.owed(payment)) == ("disputed", -1_000)
    shop.decide(dispute, "win")
    end = shop.after("charge.dispute.funds_reinstated", payment)
    assert (end["state"], end["amount_disputed"], shop.owed(payment)) == ("refunded", 0, 0)


def observe_now(shop: Shop) -> None:
    """The clock's next look at every payment is due."""
    with factories.acting(shop.hand.connection, "worker"):
        shop.hand.connection.execute("update payments set observe_at = clock_timestamp()")
    shop.hand.until(lambda: not shop.hand.open_deliveries() and shop.hand.sweep()["observations"] == 0)


# -- refunds -----------------------------------------------------------------------------------------------------


def test_refunds_in_parts_come_to_a_refunded_payment(shop: Shop) -> None:
    payment = shop.pay()
    for amount in (400, 350, None):
        shop.refund(payment, amount)
        end = shop.quiet(payment)
    assert (end["state"], end["amount_refunded"]) == ("refunded", 1_000)
    shop.sandbox.advance(8 * DAY)
    observe_now(shop)
    assert shop.books(payment) == {"stripe:available": -FEE, "provider_fees": FEE}
    with pytest.raises(IllegalTransition):
        shop.refund(payment, 1)


def test_several_refunds_of_one_payment_are_under_way_at_once(shop: Shop) -> None:
    payment = shop.pay(method_token="pm_card_pendingRefund")
    for amount in (100, 200, 300):
        shop.refund(payment, amount)
    shop.hand.run_all()
    shop.hand.quiet()
    assert len(shop.refund_posts()) == 3
    keys = {call["idempotency_key"].partition(":")[2] for call in shop.refund_posts()}
    assert keys == {"refund:1"}


def test_a_pending_refund_reserves_until_the_provider_says_how_it_ended(shop: Shop) -> None:
    payment = shop.pay(method_token="pm_card_pendingRefund")
    shop.sandbox.control("POST", "timing", refund_after=60)
    shop.refund(payment, 600)
    waiting = shop.quiet(payment)
    assert (waiting["amount_refund_pending"], waiting["amount_refunded"]) == (600, 0)
    shop.sandbox.advance(61)
    end = shop.after("refund.updated", payment)
    assert (end["amount_refund_pending"], end["amount_refunded"], shop.owed(payment)) == (0, 600, 400)
    assert shop.topics(payment, "refund") == [
        "refund.requested", "refund.submission_started", "refund.pending", "refund.booked", "refund.succeeded",
    ]  # fmt: skip


AMBIGUOUS = ["timeout_before", "timeout_after", "error_500_saved", "error_500_after", "reset_mid_body"]


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_a_refund_without_an_answer_is_resolved_by_asking_and_made_once(shop: Shop, kind: str) -> None:
    payment = shop.pay()
    shop.sandbox.fault(kind=kind, method="POST", path="/v1/refunds", seconds=HANGS_UP)
    shop.refund(payment, 700)
    end = shop.quiet(payment)
    assert (end["state"], end["amount_refunded"], end["amount_refund_pending"]) == ("settled", 700, 0)
    assert "refund.outcome_unknown" in shop.topics(payment, "refund")
    assert shop.sandbox.ledger(payment_id=str(payment["id"]))["summary"]["refunded"] == {"usd": 700}
    assert not shop.hand.dead()


def test_a_saved_500_of_a_refund_goes_again_under_another_key_with_the_proof(shop: Shop) -> None:
    payment = shop.pay()
    shop.sandbox.fault(kind="error_500_saved", method="POST", path="/v1/refunds")
    shop.refund(payment)
    assert shop.quiet(payment)["state"] == "refunded"
    rows = shop.hand.connection.execute(
        "select a.n, c.path from operation_attempts a left join provider_calls c on c.id = a.proof_call_id"
        " where a.step = 'refund' order by a.n"
    ).fetchall()
    assert rows == [{"n": 1, "path": None}, {"n": 2, "path": "/v1/refunds"}]


def test_a_refund_made_in_the_dashboard_is_adopted(shop: Shop) -> None:
    payment = shop.pay()
    shop.refund_in_dashboard(payment, 400)
    end = shop.after("charge.refunded", payment)
    assert (end["state"], end["amount_refunded"], shop.owed(payment)) == ("settled", 400, 600)
    assert shop.child("refunds", payment)["origin"] == "provider"


def test_a_refund_that_carries_our_ids_but_is_not_ours_is_adopted_beside_it(shop: Shop) -> None:
    """Metadata can be copied by anybody at the provider."""
    payment = shop.pay()
    shop.refund(payment, 400)
    shop.quiet(payment)
    ours = shop.child("refunds", payment)
    shop.refund_in_dashboard(payment, 400, refund_id=str(ours["id"]), operation_id=str(ours["operation_id"]))
    end = shop.after("refund.created", payment)
    assert end["amount_refunded"] == 800
    origins = shop.hand.connection.execute("select origin from refunds order by created_at").fetchall()
    assert [row["origin"] for row in origins] == ["api", "provider"]


def test_a_request_that_no_longer_fits_because_of_the_dashboard_fails_and_frees_what_it_reserved(shop: Shop) -> None:
    payment = shop.pay()
    shop.refund(payment, 700)
    shop.refund_in_dashboard(payment, 800)
    end = shop.quiet(payment)
    assert (end["amount_refunded"], end["amount_refund_pending"], shop.owed(payment)) == (800, 0, 200)
    assert (shop.operation(payment)["status"], shop.operation(payment)["outcome"]) == ("failed", "refused")
    assert shop.topics(payment, "refund").count("refund.failed") == 1


def test_a_refund_of_a_charge_that_was_disputed_meanwhile_is_refused_and_the_dispute_known(shop: Shop) -> None:
    payment = shop.pay()
    shop.refund(payment, 700)
    shop.dispute(payment)
    end = shop.quiet(payment)
    assert (end["state"], end["amount_refund_pending"], end["amount_disputed"]) == ("disputed", 0, 1_000)
    assert shop.child("refunds", payment)["failure_reason"] == "charge_disputed"


# -- disputes ----------------------------------------------------------------------------------------------------


def test_an_inquiry_moves_nothing(shop: Shop) -> None:
    payment = shop.pay()
    inquiry = shop.dispute(payment, status="warning_needs_response")
    seen = shop.after("charge.dispute.created", payment)
    assert (seen["state"], shop.child("disputes", payment)["state"]) == ("settled", "inquiry")
    shop.decide(inquiry, "win")
    shop.after("charge.dispute.closed", payment)
    assert shop.child("disputes", payment)["state"] == "closed"
    assert shop.owed(payment) == 1_000
    shop.refund(payment, 100)
    assert shop.quiet(payment)["amount_refunded"] == 100


def test_a_dispute_is_lost_appealed_and_won_late(shop: Shop) -> None:
    payment = shop.pay()
    dispute = shop.dispute(payment)
    states = []
    for verb, how in (("review", {}), ("lose", {}), ("status", {"status": "appeal_under_review"}), ("win", {})):
        shop.decide(dispute, verb, **how)
        states.append(shop.after("charge.dispute.updated", payment)["state"])
    assert states == ["disputed", "charged_back", "disputed", "settled"]
    assert shop.topics(payment, "dispute") == [
        "dispute.opened", "dispute.funds_withdrawn", "dispute.lost", "dispute.reopened", "dispute.won",
        "dispute.funds_reinstated",
    ]  # fmt: skip
    assert shop.owed(payment) == 1_000


def test_scenario_22_a_status_that_nobody_knows_is_stored_and_told_to_people_once(shop: Shop) -> None:
    payment = shop.pay()
    dispute = shop.dispute(payment)
    shop.decide(dispute, "status", status="teleported")
    with capture_logs() as lines:
        for _ in range(2):
            end = shop.after("charge.dispute.updated", payment)
    found = shop.child("disputes", payment)
    assert (end["state"], found["state"], found["provider_status"]) == ("disputed", "open", "teleported")
    assert shop.topics(payment, "dispute").count("dispute.status_unknown") == 1
    logged = [(line["log_level"], line.get("status")) for line in lines if "not known here" in line["event"]]
    assert logged == [("warning", "teleported")]
    told = "disputes with a status of stripe that is not known here, teleported: 1"
    assert told in shop.hand.runtime.database.transact(READER, overview)["attention"]
    shop.decide(dispute, "status", status="needs_response")
    shop.after("charge.dispute.updated", payment)
    assert told not in shop.hand.runtime.database.transact(READER, overview)["attention"]


def test_an_open_dispute_is_asked_about_by_the_clock(shop: Shop) -> None:
    """No webhook comes."""
    payment = shop.pay()
    dispute = shop.dispute(payment)
    assert shop.after("charge.dispute.created", payment)["observe_at"] is not None
    shop.decide(dispute, "lose")
    observe_now(shop)
    assert shop.hand.payment(payment["id"])["state"] == "charged_back"
    assert shop.child("disputes", payment)["state"] == "lost"
