"""What the adapter makes of a peer that answers well, badly or not at all."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from app.model.outcome import Ambiguous, Misuse, NotExecuted, Ok, Refused
from app.model.snapshot import ProviderStatus
from app.providers.protocol import Step

IMPATIENT = 0.3
KEY = "01980000-0000-7000-8000-000000000003:confirm:1"


@pytest.fixture
def confirm(provider, operation):
    return lambda: provider.send(provider.prepare(Step.CONFIRM, operation, ref="pi_1", key=KEY))


@pytest.fixture
def create(provider, operation):
    return lambda: provider.send(provider.prepare(Step.CREATE, operation, ref=None, key=KEY))


@pytest.fixture
def list_recent(provider, operation):
    stored = operation | {"created_after": 1_790_000_000}
    return lambda: provider.send(provider.prepare(Step.LIST_RECENT, stored, ref=None, key=None))


def test_a_confirmed_payment_is_read_whole_from_the_reply(peer, confirm, intent):
    peer.says(intent(), Request_Id="req_1", Stripe_Version="2026-10-28.endive")
    reply = confirm()
    assert isinstance(reply.outcome, Ok)
    assert reply.outcome.snapshot.status is ProviderStatus.SUCCEEDED
    assert reply.outcome.facts[0].net == 990
    assert reply.evidence.provider_request_id == "req_1"
    assert reply.evidence.api_version == "2026-10-28.endive"
    assert reply.evidence.error_class is None


def test_what_is_sent_is_what_was_prepared(peer, provider, operation, intent):
    peer.says(intent(status="requires_confirmation", latest_charge=None))
    provider.send(provider.prepare(Step.CREATE, operation, ref=None, key="op:create:1"))
    (seen,) = peer.seen
    assert (seen.method, seen.path) == ("POST", "/v1/payment_intents")
    assert seen.headers["idempotency-key"] == "op:create:1"
    assert seen.headers["stripe-version"] == "2026-10-28.endive"
    assert seen.params == {
        "amount": ["1050"],
        "currency": ["usd"],
        "allowed_payment_method_types[0]": ["card"],
        "capture_method": ["automatic_async"],
        "payment_method": ["pm_card_visa"],
        "description": ["Two chairs"],
        "statement_descriptor_suffix": ["CHAIRS"],
        "metadata[payment_id]": [operation["metadata"]["payment_id"]],
        "metadata[merchant_id]": [operation["metadata"]["merchant_id"]],
        "metadata[operation_id]": [operation["metadata"]["operation_id"]],
        "expand[0]": ["latest_charge"],
        "expand[1]": ["latest_charge.balance_transaction"],
    }


def test_no_telemetry_leaves_the_house(peer, confirm, intent):
    peer.says(intent(), Request_Id="req_1")
    confirm(), confirm()
    for seen in peer.seen:
        assert "x-stripe-client-telemetry" not in seen.headers
        assert {"telemetry_id", "platform"}.isdisjoint(json.loads(seen.headers["x-stripe-client-user-agent"]))


def test_a_question_carries_no_idempotency_key(peer, provider, operation, intent):
    peer.says(intent())
    provider.send(provider.prepare(Step.FETCH, operation, ref="pi_1", key=None))
    assert "idempotency-key" not in peer.seen[0].headers


@pytest.mark.parametrize("read_timeout", [IMPATIENT])
@pytest.mark.parametrize("manner", ["silent", "reset_before", "reset_mid_body", "short", "short_chunked", "drip"])
def test_no_whole_reply_is_ambiguous_and_sent_only_once(peer, confirm, intent, manner):
    peer.says(intent(), manner=manner)
    reply = confirm()
    assert isinstance(reply.outcome, Ambiguous)
    assert not reply.outcome.saved
    assert reply.evidence.http_status is None
    assert reply.evidence.error_class
    assert len(peer.seen) == 1


@pytest.mark.parametrize("read_timeout", [IMPATIENT])
def test_a_dripping_peer_cannot_outlast_the_time_of_one_call(peer, confirm, intent):
    peer.says(intent(), manner="drip")
    reply = confirm()
    assert reply.evidence.error_class == "DeadlineExceeded"
    assert reply.evidence.duration_ms < 5_000


def test_a_refused_connection_is_ambiguous(provider, peer, operation):
    request = provider.prepare(Step.FETCH, operation, ref="pi_1", key=None)
    peer.stop()
    reply = provider.send(request)
    assert isinstance(reply.outcome, Ambiguous)
    assert reply.evidence.error_class == "ConnectionError"


def test_the_reply_of_the_last_request_is_never_taken_for_this_one(peer, confirm, intent):
    peer.says(intent())
    peer.says(intent(), manner="reset_before")
    assert isinstance(confirm().outcome, Ok)
    assert confirm().evidence.http_status is None


def test_a_5xx_is_ambiguous_and_a_replayed_one_is_saved(peer, confirm, error_reply):
    peer.says(error_reply(kind="api_error"), status=500)
    peer.says(error_reply(kind="api_error"), status=500, Idempotent_Replayed="true")
    assert confirm().outcome == Ambiguous(detail="HTTP 500: It did not work.", saved=False)
    reply = confirm()
    assert reply.outcome == Ambiguous(detail="HTTP 500: It did not work.", saved=True)
    assert reply.evidence.replayed


def test_a_replayed_5xx_is_saved_even_when_its_body_is_no_error_of_stripes(peer, confirm):
    peer.says(b"{}", status=503, Idempotent_Replayed="true")
    assert confirm().outcome.saved


@pytest.mark.parametrize(
    "status, code, reason, opens",
    [
        (409, "idempotency_key_in_use", "key_in_use", False),
        (409, None, "key_in_use", False),
        (429, "rate_limit", "rate_limited", False),
        (429, "lock_timeout", "lock_timeout", False),
        (400, "rate_limit", "rate_limited", False),
        (401, None, "unauthenticated", True),
        (403, None, "forbidden", True),
    ],
)
def test_turned_away_at_the_door_is_not_executed(peer, confirm, error_reply, status, code, reason, opens):
    peer.says(error_reply(code), status=status)
    assert confirm().outcome == NotExecuted(reason, opens_circuit=opens)


@pytest.mark.parametrize(
    "header, seconds", [("7", 7.0), ("999999", 3_600.0), ("-1", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
)
def test_retry_after_is_honoured_within_reason(peer, confirm, error_reply, header, seconds):
    peer.says(error_reply("rate_limit"), status=429, Retry_After=header)
    assert confirm().outcome.retry_after == seconds


def test_one_key_with_two_bodies_is_misuse(peer, confirm, error_reply):
    peer.says(error_reply(kind="idempotency_error"), status=400)
    assert confirm().outcome == Misuse("It did not work.")


def test_a_decline_is_a_result_with_the_payment_as_it_stands(peer, confirm, intent, error_reply):
    error = {
        "type": "card_error",
        "code": "card_declined",
        "decline_code": "insufficient_funds",
        "message": "No money.",
    }
    declined = intent(
        status="requires_payment_method", amount_received=0, latest_charge="ch_1", last_payment_error=error
    )
    peer.says({"error": error | {"payment_intent": declined}}, status=402)
    outcome = confirm().outcome
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.message, outcome.retryable) == ("insufficient_funds", "No money.", True)
    assert outcome.snapshot.status is ProviderStatus.FAILED
    assert outcome.snapshot.charge_ref == "ch_1"


def test_a_decline_about_another_payment_brings_no_snapshot(peer, confirm, intent, error_reply):
    peer.says(error_reply("card_declined", "card_error", payment_intent=intent(id="pi_other")), status=402)
    assert confirm().outcome.snapshot is None


def test_reality_moved_asks_for_a_fetch(peer, confirm, error_reply):
    peer.says(error_reply("payment_intent_unexpected_state"), status=400)
    assert confirm().outcome.moved


@pytest.mark.parametrize("status", [400, 404])
def test_any_other_request_error_is_refused(peer, confirm, error_reply, status):
    peer.says(error_reply("resource_missing"), status=status)
    assert confirm().outcome == Refused("resource_missing", "It did not work.")


@pytest.mark.parametrize("status", [301, 400, 402, 404, 405, 424])
def test_an_error_that_stripe_did_not_write_is_ambiguous(peer, confirm, status):
    peer.says(b"<html>a proxy</html>", status=status, Location="/elsewhere")
    assert isinstance(confirm().outcome, Ambiguous)
    assert len(peer.seen) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"object":"payment_intent"}',
        b"[" * 100_000,
        b"{}" + b" " * 5_000_000,
    ],
    ids=["empty", "text", "bytes", "list", "null", "hollow", "deep", "huge"],
)
def test_a_reply_of_the_wrong_shape_is_ambiguous(peer, confirm, body):
    peer.says(body)
    reply = confirm()
    assert isinstance(reply.outcome, Ambiguous)
    assert reply.evidence.error_class


def test_a_reply_without_end_is_not_read_to_its_end(peer, confirm, intent):
    peer.says(json.dumps(intent()).encode() + b" " * 5_000_000)
    assert confirm().evidence.error_class == "BodyTooLarge"


@pytest.mark.parametrize("error", [{}, [], None, "invalid_request", 7])
def test_an_error_of_the_wrong_shape_refuses_nothing(peer, confirm, error):
    peer.says({"error": error}, status=400)
    assert isinstance(confirm().outcome, Ambiguous)


def test_an_unknown_status_is_ambiguous_and_named(peer, confirm, intent):
    peer.says(intent(status="requires_reflection"))
    reply = confirm()
    assert reply.outcome == Ambiguous("unreadable reply: unknown PaymentIntent status 'requires_reflection'")
    assert reply.evidence.response["status"] == "requires_reflection"


def test_a_reply_about_another_payment_is_ambiguous(peer, confirm, intent):
    peer.says(intent(id="pi_other"))
    assert "told about pi_other" in confirm().outcome.detail


def test_a_created_payment_without_our_metadata_is_ambiguous(peer, create, intent):
    peer.says(intent(status="requires_confirmation", metadata={}))
    assert "metadata" in create().outcome.detail


def test_orphans_are_found_by_metadata_and_nothing_of_others_is_kept(peer, list_recent, intent):
    others = intent(id="pi_other", metadata={"payment_id": "01980000-0000-7000-8000-0000000000ff"}, status="strange")
    page = [others, {"metadata": "junk"}, intent(), intent(id="pi_2", status="requires_confirmation")]
    peer.says({"object": "list", "data": page, "has_more": False})
    reply = list_recent()
    assert [found.ref for found in reply.outcome.found] == ["pi_1", "pi_2"]
    assert reply.outcome.next_page is None
    assert [item["id"] for item in reply.evidence.response["data"]] == ["pi_1", "pi_2"]
    assert peer.seen[0].params["created[gte]"] == ["1790000000"]


def test_a_long_list_says_where_it_goes_on(peer, list_recent, intent):
    peer.says({"object": "list", "data": [intent(id="pi_9")], "has_more": True})
    assert list_recent().outcome.next_page == "pi_9"


def test_a_list_without_end_or_beginning_is_ambiguous(peer, list_recent):
    peer.says({"object": "list", "data": [], "has_more": True})
    assert isinstance(list_recent().outcome, Ambiguous)


def test_evidence_holds_the_hash_of_the_original_bytes_and_no_secret(peer, confirm, intent):
    peer.says(intent())
    evidence = confirm().evidence
    assert evidence.response_sha256 == hashlib.sha256(json.dumps(intent()).encode()).hexdigest()
    stored = json.dumps(evidence.response)
    assert "txn_1" in stored
    assert all(secret not in stored for secret in ("_secret_", "payer@example.com", "exp_month"))


def test_64_threads_share_the_provider_on_64_kept_connections(peer, confirm, intent):
    peer.says(intent())
    peer.gate = Barrier(64)  # no answer before all have asked: a smaller pool would wait for ever

    def thrice(_: int) -> list[bool]:
        return [isinstance(confirm().outcome, Ok) for _ in range(3)]

    with ThreadPoolExecutor(64) as threads:
        results = [result for results in threads.map(thrice, range(64)) for result in results]
    assert results == [True] * 192
    assert len({seen.port for seen in peer.seen}) == 64
