"""How one exchange ended: HTTP status before error class, codes by table; never raises, and never guesses success."""

from __future__ import annotations

import json
from collections.abc import Mapping

import stripe

from app.model.outcome import Ambiguous, Misuse, NotExecuted, Ok, Outcome, Refused
from app.model.snapshot import Snapshot
from app.providers.protocol import ProviderRequest, Step
from app.providers.stripe.children import read_dispute, read_refund
from app.providers.stripe.declines import failure_code, is_retryable
from app.providers.stripe.fields import Unreadable
from app.providers.stripe.lists import REQUESTS as OF_ACCOUNT
from app.providers.stripe.lists import read_answer
from app.providers.stripe.redaction import redact_text
from app.providers.stripe.requests import OF_A_PAYMENT
from app.providers.stripe.snapshots import our_ids, read_payment_intent
from app.providers.stripe.transport import RawReply

# Turned away at the door, whatever the body says: the same key may go again. (409 reaches us as the SDK's APIError.)
NOT_EXECUTED_BY_STATUS = {401: "unauthenticated", 403: "forbidden", 409: "key_in_use", 429: "rate_limited"}
NOT_EXECUTED_BY_CODE = {
    "idempotency_key_in_use": "key_in_use",
    "lock_timeout": "lock_timeout",
    "rate_limit": "rate_limited",
}
OPENS_CIRCUIT = frozenset({"unauthenticated", "forbidden"})
# The object changed under us: fetch it instead of believing the refusal. https://docs.stripe.com/error-codes
MOVED = frozenset(
    {
        "payment_intent_unexpected_state",
        "charge_already_captured",
        "charge_already_refunded",
        "charge_disputed",
        "charge_expired_for_capture",
        "intent_invalid_state",
        "refund_disputed_payment",
    }
)
# Nobody waits longer than this on a provider's word alone.
MAX_RETRY_AFTER = 3_600.0
REQUEST_ERRORS = (stripe.CardError, stripe.InvalidRequestError)


def outcome_of(request: ProviderRequest, reply: RawReply | None, error: Exception | None, *, account: str) -> Outcome:
    """The outcome of sending `request`, from the raw reply (None: none arrived whole) and what the SDK raised."""
    if reply is None:
        return Ambiguous(detail=f"no reply: {describe(error)}")
    if error is None:
        return _success(request, reply, account)
    return _failure(request, reply, error, account)


def was_replayed(reply: RawReply) -> bool:
    """Whether Stripe answered from its idempotency store instead of executing."""
    return reply.headers.get("Idempotent-Replayed", "").strip().lower() == "true"


def body_of(reply: RawReply) -> object:
    """The parsed body, or None."""
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None


def describe(error: Exception | None) -> str:
    """One redacted line for evidence: what the network or the SDK complained about."""
    if error is None:
        return "nothing was raised"
    text = error.user_message if isinstance(error, stripe.StripeError) else str(error)
    return redact_text(text or type(error).__name__)


def _success(request: ProviderRequest, reply: RawReply, account: str) -> Outcome:
    try:
        if request.step in OF_ACCOUNT:
            return read_answer(request.step, body_of(reply), account=account, ref=request.expected_ref)
        if request.step is Step.LIST_RECENT:
            return _found(request, body_of(reply), account)
        if request.step in OF_A_PAYMENT:
            return _of_a_payment(request, body_of(reply))
        snapshot = read_payment_intent(body_of(reply), account=account)
        _check_identity(request, snapshot)
    except Unreadable as error:
        return Ambiguous(detail=f"unreadable reply: {error}", saved=False)
    return Ok(snapshot=snapshot, facts=snapshot.facts)


def _found(request: ProviderRequest, body: object, account: str) -> Ok:
    items, following = _page(body)
    found = tuple(read_payment_intent(item, account=account) for item in items if is_ours(request, item))
    return Ok(snapshot=None, found=found, next_page=following)


def _of_a_payment(request: ProviderRequest, body: object) -> Ok:
    """The refund that was made, or a page of the payment's refunds or disputes."""
    payment_ref = request.expected_ref
    assert payment_ref is not None, f"{request.step} is about a payment"
    if request.step is Step.REFUND:
        refund = read_refund(body, payment_ref=payment_ref)
        if refund.refund_id != request.expected_metadata["refund_id"]:
            raise Unreadable(f"{refund.ref} does not carry the metadata that was sent")
        return Ok(snapshot=None, refunds=(refund,))
    items, following = _page(body)
    if request.step is Step.LIST_REFUNDS:
        refunds = tuple(read_refund(item, payment_ref=payment_ref) for item in items)
        return Ok(snapshot=None, refunds=refunds, next_page=following)
    disputes = tuple(read_dispute(item, payment_ref=payment_ref) for item in items)
    return Ok(snapshot=None, disputes=disputes, next_page=following)


def _page(body: object) -> tuple[list[object], str | None]:
    """The items of a list, and after which one it goes on. Raises Unreadable."""
    page = body if isinstance(body, dict) else {}
    items, more = page.get("data"), page.get("has_more")
    if page.get("object") != "list" or not isinstance(items, list) or not isinstance(more, bool):
        raise Unreadable("expected a list")
    last = items[-1].get("id") if more and items and isinstance(items[-1], dict) else None
    if more and not isinstance(last, str):
        raise Unreadable("a list that goes on after nothing")
    return items, last


def is_ours(request: ProviderRequest, item: object) -> bool:
    """Whether an object of a list carries the payment or operation that was asked for: lists hold every merchant's."""
    if not isinstance(item, dict):
        return False
    ids, expected = our_ids(item), request.expected_metadata
    if ids["merchant_id"] != expected.get("merchant_id", ids["merchant_id"]):
        return False
    return any(expected.get(name) and ids[name] == expected[name] for name in ("operation_id", "payment_id"))


def _check_identity(request: ProviderRequest, snapshot: Snapshot) -> None:
    """Raises Unreadable when the reply is about another object than the request."""
    if request.expected_ref is not None and snapshot.ref != request.expected_ref:
        raise Unreadable(f"asked about {request.expected_ref}, told about {snapshot.ref}")
    if request.step is Step.CREATE:
        ours = {
            "payment_id": snapshot.payment_id,
            "merchant_id": snapshot.merchant_id,
            "operation_id": snapshot.operation_id,
        }
        if ours != dict(request.expected_metadata):
            raise Unreadable(f"{snapshot.ref} does not carry the metadata that was sent")


def _failure(request: ProviderRequest, reply: RawReply, error: Exception, account: str) -> Outcome:
    details = _error_details(reply)
    code = details.get("code")
    reason = NOT_EXECUTED_BY_CODE.get(code) if isinstance(code, str) and reply.status < 500 else None
    reason = reason or NOT_EXECUTED_BY_STATUS.get(reply.status)
    if reason is not None:
        return NotExecuted(reason, retry_after=_retry_after(reply.headers), opens_circuit=reason in OPENS_CIRCUIT)
    if reply.status >= 500:
        return Ambiguous(detail=f"HTTP {reply.status}: {_sentence(details, error)}", saved=was_replayed(reply))
    if isinstance(error, stripe.IdempotencyError):
        return Misuse(detail=_sentence(details, error))
    if isinstance(error, REQUEST_ERRORS) and details:
        return Refused(
            code=failure_code(details),
            message=_sentence(details, error),
            retryable=is_retryable(details),
            moved=isinstance(error, stripe.InvalidRequestError) and code in MOVED,
            snapshot=_snapshot_in(request, details, account),
        )
    return Ambiguous(detail=f"HTTP {reply.status}: {_sentence(details, error)}")


def _error_details(reply: RawReply) -> dict[str, object]:
    body = body_of(reply)
    found = body.get("error") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}


def _snapshot_in(request: ProviderRequest, details: dict[str, object], account: str) -> Snapshot | None:
    """The PaymentIntent that a refusal carries (its charge is an id only); None when it has none that we can read."""
    try:
        snapshot = read_payment_intent(details.get("payment_intent"), account=account)
        _check_identity(request, snapshot)
    except Unreadable:
        return None
    return snapshot


def _sentence(details: dict[str, object], error: Exception) -> str:
    message = details.get("message")
    return redact_text(message) if isinstance(message, str) and message else describe(error)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        return None  # a date would need a clock; the caller has its own pace
    return min(float(text), MAX_RETRY_AFTER)
