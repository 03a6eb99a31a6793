"""The adapter against a Stripe that keeps its own ledger: whole lives of payments over real HTTP."""

import json
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from app.model.outcome import Ambiguous, Misuse, NotExecuted, Ok, Refused
from app.model.snapshot import ProviderStatus
from app.providers.protocol import Step
from app.providers.stripe import StripeProvider

WEBHOOK_SECRET = "whsec_shared"


class Sandbox:
    def __init__(self, url):
        self.url = url

    def control(self, path, /, **body):
        request = urllib.request.Request(f"{self.url}/_sandbox/{path}", json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)

    def ledger(self, payment_id):
        with urllib.request.urlopen(f"{self.url}/_sandbox/ledger?payment_id={payment_id}", timeout=20) as reply:
            return json.load(reply)["summary"]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    data = tmp_path_factory.mktemp("stripe") / "ledger.jsonl"
    command = [
        sys.executable,
        "-m",
        "cli.sandbox",
        "stripe",
        "--port",
        "0",
        "--data",
        str(data),
        "--quiet",
        "--hold",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        yield Sandbox(line.split()[-1])
        process.terminate()


@pytest.fixture(scope="module")
def stripe(sandbox):
    provider = StripeProvider(
        "sk_test_postbox", account="default", api_base=sandbox.url, webhook_secrets=(WEBHOOK_SECRET,)
    )
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def impatient(sandbox):
    """Gives up before the sandbox lets a held connection go."""
    provider = StripeProvider("sk_test_postbox", account="default", api_base=sandbox.url, read_timeout=0.3)
    yield provider
    provider.close()


class Payment:
    """One payment's operation, stepped by hand as a worker would, with its deterministic keys."""

    def __init__(self, stripe, operation, **changes):
        self.ids = {name: str(uuid4()) for name in ("payment_id", "merchant_id", "operation_id")}
        self.operation = operation | {"metadata": self.ids, "description": None, "statement_descriptor": None} | changes
        self.stripe, self.ref = stripe, None

    def step(self, step, attempt=1, by=None, **changes):
        key = None if step in (Step.FETCH, Step.LIST_RECENT) else f"{self.ids['operation_id']}:{step}:{attempt}"
        request = self.stripe.prepare(step, self.operation | changes, ref=self.ref, key=key)
        reply = (by or self.stripe).send(request)
        if isinstance(reply.outcome, Ok) and reply.outcome.snapshot:
            self.ref = reply.outcome.snapshot.ref
        return reply

    def snapshot(self, step, **changes):
        outcome = self.step(step, **changes).outcome
        assert isinstance(outcome, Ok), outcome
        return outcome.snapshot

    def fault(self, sandbox, kind, step, **more):
        path = {"create": "/v1/payment_intents"}.get(step, f"/v1/payment_intents/*/{step}")
        sandbox.control("faults", kind=kind, method="POST", path=path, metadata=self.ids, **more)


@pytest.fixture
def payment(stripe, operation):
    def begin(token="pm_card_visa", kind="card", **changes):
        return Payment(stripe, operation, method={"type": kind, "token": token}, **changes)

    return begin


def test_a_card_payment_goes_from_created_to_a_money_line(sandbox, payment):
    sandbox.control("timing", balance_after=1, available_after=86_400)
    one = payment()
    created = one.snapshot(Step.CREATE)
    assert (created.status, created.payment_id) == (ProviderStatus.CREATED, one.ids["payment_id"])
    confirmed = one.snapshot(Step.CONFIRM)
    assert (confirmed.status, confirmed.amount_captured) == (ProviderStatus.SUCCEEDED, 1050)
    sandbox.control("clock", advance=60)
    (fact,) = one.snapshot(Step.FETCH).facts
    assert (fact.kind, fact.gross, fact.status, fact.source_ref) == ("charge", 1050, "pending", confirmed.charge_ref)
    sandbox.control("clock", advance=30 * 86_400)
    assert one.snapshot(Step.FETCH).facts[0].status == "available"


@pytest.mark.parametrize(
    "token, code, retryable",
    [
        ("pm_card_chargeDeclined", "generic_decline", False),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds", True),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", False),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", True),
    ],
)
def test_a_declined_card_is_refused_by_its_code_and_fetches_as_failed(payment, token, code, retryable):
    one = payment(token)
    one.step(Step.CREATE)
    outcome = one.step(Step.CONFIRM).outcome
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.snapshot.status) == (code, ProviderStatus.FAILED)
    fetched = one.snapshot(Step.FETCH)
    assert (fetched.status, fetched.failure_code) == (ProviderStatus.FAILED, code)
    assert one.snapshot(Step.CLOSE).status is ProviderStatus.FAILED


def test_a_challenged_payer_is_sent_to_a_page_and_leaves_a_trace(sandbox, payment):
    one = payment("pm_card_threeDSecure2Required")
    one.step(Step.CREATE)
    pending = one.snapshot(Step.CONFIRM)
    assert pending.status is ProviderStatus.ACTION_REQUIRED
    assert pending.next_action.type == "redirect"
    assert pending.next_action.redirect_url.startswith(sandbox.url)
    sandbox.control(f"payment_intents/{one.ref}/authenticate", outcome="success")
    done = one.snapshot(Step.FETCH)
    assert (done.status, done.action_taken) == (ProviderStatus.SUCCEEDED, True)


def test_a_failed_challenge_is_a_failure_that_was_seen(sandbox, payment):
    one = payment("pm_card_threeDSecure2Required")
    one.step(Step.CREATE), one.step(Step.CONFIRM)
    sandbox.control(f"payment_intents/{one.ref}/authenticate", outcome="failure")
    failed = one.snapshot(Step.FETCH)
    assert (failed.status, failed.action_taken) == (ProviderStatus.FAILED, True)


def test_an_authorization_is_captured_in_part(payment):
    one = payment(capture_method="manual")
    one.step(Step.CREATE)
    held = one.snapshot(Step.CONFIRM)
    assert (held.status, held.amount_authorized, held.amount_capturable) == (ProviderStatus.CAPTURABLE, 1050, 1050)
    assert held.capture_before is not None
    captured = one.snapshot(Step.CAPTURE, amount_to_capture=600)
    assert (captured.status, captured.amount_captured, captured.amount_capturable) == (ProviderStatus.SUCCEEDED, 600, 0)


@pytest.mark.parametrize("reason", ["requested", "duplicate", "fraudulent", "abandoned"])
def test_a_cancellation_comes_back_with_the_reason_it_was_asked_for(payment, reason):
    one = payment(capture_method="manual")
    one.step(Step.CREATE), one.step(Step.CONFIRM)
    canceled = one.snapshot(Step.CANCEL, reason=reason)
    assert (canceled.status, canceled.cancel_reason) == (ProviderStatus.CANCELED, reason)


def test_an_authorization_that_expired_says_so(sandbox, payment):
    one = payment(capture_method="manual")
    one.step(Step.CREATE), one.step(Step.CONFIRM)
    sandbox.control("clock", advance=8 * 86_400)
    expired = one.snapshot(Step.FETCH)
    assert (expired.status, expired.cancel_reason) == (ProviderStatus.CANCELED, "authorization_expired")
    assert one.step(Step.CAPTURE).outcome.moved


def test_cancelling_what_succeeded_asks_for_a_fetch(payment):
    one = payment()
    one.step(Step.CREATE), one.step(Step.CONFIRM)
    outcome = one.step(Step.CANCEL).outcome
    assert (outcome.moved, outcome.snapshot.status) == (True, ProviderStatus.SUCCEEDED)


def test_a_confirm_that_timed_out_after_it_happened_is_ambiguous_and_found_done(sandbox, payment, impatient):
    one = payment()
    one.step(Step.CREATE)
    one.fault(sandbox, "timeout_after", "confirm")
    assert isinstance(one.step(Step.CONFIRM, by=impatient).outcome, Ambiguous)
    assert one.snapshot(Step.FETCH).status is ProviderStatus.SUCCEEDED
    again = one.step(Step.CONFIRM)
    assert again.evidence.replayed
    assert sandbox.ledger(one.ids["payment_id"])["captured_charges"] == 1


def test_a_saved_500_is_replayed_and_known_as_such(sandbox, payment):
    one = payment()
    one.step(Step.CREATE)
    one.fault(sandbox, "error_500_saved", "confirm")
    assert one.step(Step.CONFIRM).outcome.saved is False
    assert one.step(Step.CONFIRM).outcome.saved is True
    assert one.snapshot(Step.FETCH).status is ProviderStatus.CREATED
    assert one.snapshot(Step.CONFIRM, attempt=2).status is ProviderStatus.SUCCEEDED


@pytest.mark.parametrize("kind, reason", [("conflict_409", "key_in_use"), ("rate_limit_429", "rate_limited")])
def test_turned_away_may_go_again_with_the_same_key(sandbox, payment, kind, reason):
    one = payment()
    one.step(Step.CREATE)
    one.fault(sandbox, kind, "confirm")
    outcome = one.step(Step.CONFIRM).outcome
    assert isinstance(outcome, NotExecuted)
    assert outcome.reason == reason
    assert one.snapshot(Step.CONFIRM).status is ProviderStatus.SUCCEEDED


@pytest.mark.parametrize(
    "kind", ["timeout_before", "reset_before", "reset_mid_body", "error_500_before", "error_500_after"]
)
def test_every_other_fault_of_a_create_is_ambiguous_and_the_same_key_makes_one(sandbox, payment, impatient, kind):
    one = payment()
    one.fault(sandbox, kind, "create")
    assert isinstance(one.step(Step.CREATE, by=impatient).outcome, Ambiguous)
    one.step(Step.CREATE)
    assert sandbox.ledger(one.ids["payment_id"])["payment_intents"] == 1


def test_an_orphan_is_found_by_its_metadata(sandbox, payment):
    started = int(sandbox.control("clock", advance=0)["now"])
    one, other = payment(), payment()
    one.fault(sandbox, "error_500_after", "create")
    one.step(Step.CREATE), other.step(Step.CREATE)
    (orphan,) = one.step(Step.LIST_RECENT, created_after=started).outcome.found
    assert orphan.operation_id == one.ids["operation_id"]


def test_one_key_with_two_bodies_is_misuse(payment):
    one = payment()
    one.step(Step.CREATE)
    assert isinstance(one.step(Step.CREATE, amount=2000).outcome, Misuse)


def test_a_payment_that_does_not_exist_is_refused(payment):
    one = payment()
    one.ref = "pi_nowhere"
    assert one.step(Step.FETCH).outcome.code == "resource_missing"


def test_a_wrong_key_opens_the_circuit_and_refuses_nothing(sandbox, operation):
    stranger = StripeProvider("sk_test_stranger", account="default", api_base=sandbox.url)
    outcome = stranger.send(stranger.prepare(Step.FETCH, operation, ref="pi_1", key=None)).outcome
    stranger.close()
    assert isinstance(outcome, NotExecuted)
    assert (outcome.reason, outcome.opens_circuit) == ("unauthenticated", True)


def test_a_bank_debit_is_processing_first(payment):
    mandate = {"accepted_at": 1_790_000_000, "ip_address": "192.0.2.1", "user_agent": "test"}
    one = payment("pm_usBankAccount_success", kind="us_bank_account", mandate=mandate)
    one.step(Step.CREATE)
    assert one.snapshot(Step.CONFIRM).status is ProviderStatus.PROCESSING


def test_a_webhook_from_a_peer_is_believed_and_names_the_payment(sandbox, stripe, payment, peer):
    peer.says({})
    endpoint = sandbox.control("webhooks/endpoints", url=peer.url, secret=WEBHOOK_SECRET)
    one = payment()
    one.step(Step.CREATE), one.step(Step.CONFIRM)
    sandbox.control("webhooks/flush", seconds=10)
    urllib.request.urlopen(
        urllib.request.Request(f"{sandbox.url}/_sandbox/webhooks/endpoints/{endpoint['id']}", method="DELETE"),
        timeout=20,
    ).close()
    events = [stripe.parse_webhook(seen.raw, seen.headers, now=datetime.now(UTC)) for seen in peer.seen]
    mine = {event.type for event in events if event.payment_id == one.ids["payment_id"]}
    assert {"payment_intent.created", "payment_intent.succeeded", "charge.succeeded"} <= mine
    assert {event.payment_ref for event in events if event.type in mine} >= {one.ref}
