"""The provider's side in plain Python: what it does to one payment, what it says after each change, what must be told.

Stripe's PaymentIntent as its lifecycle page describes it, reduced to the Snapshots that the adapter makes of it. That
the adapter makes these of the real objects is proven against the sandbox in tests/providers. `told` is a second,
independent state machine: it knows the provider's changes and nothing of snapshots, walks, ranks or versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from app.model.snapshot import Fact, NextAction, ProviderStatus, Snapshot

AMOUNT = 1_000
THEN = datetime(2026, 7, 1, tzinfo=UTC)


class Change(StrEnum):
    """One thing that the provider, the payer or we do to the object; the first of a history is always our confirm."""

    CHALLENGE = "challenge"  # the payer has to act
    PROCESS = "process"  # a bank debit is on its way
    HOLD = "hold"  # funds held, to be captured
    SUCCEED = "succeed"
    CAPTURE = "capture"
    BOOK = "book"  # the balance transaction appears, pending
    RELEASE = "release"  # and becomes available
    DECLINE = "decline"
    FAIL_CHALLENGE = "fail_challenge"
    BOUNCE = "bounce"  # the bank refuses the debit
    EXPIRE = "expire"  # the hold ends by itself
    VOID = "void"  # somebody cancels the hold
    ABANDON = "abandon"  # the payer never came back
    CLOSE = "close"  # what is left of a refused one is canceled


C = Change

# https://docs.stripe.com/payments/paymentintents/lifecycle: cards are not `processing` after the payer acted.
FIRST = {
    ("card", "automatic"): (C.SUCCEED, C.CHALLENGE, C.DECLINE, C.PROCESS),
    ("card", "manual"): (C.HOLD, C.CHALLENGE, C.DECLINE),
    ("us_bank_account", "automatic"): (C.PROCESS, C.CHALLENGE),
}
_REFUSED = (C.CLOSE,)
NEXT = {
    ("card", "automatic"): {
        C.CHALLENGE: (C.SUCCEED, C.DECLINE, C.FAIL_CHALLENGE, C.ABANDON),
        C.PROCESS: (C.SUCCEED, C.DECLINE),
    },
    ("card", "manual"): {
        C.CHALLENGE: (C.HOLD, C.DECLINE, C.FAIL_CHALLENGE, C.ABANDON),
        C.HOLD: (C.CAPTURE, C.EXPIRE, C.VOID),
    },
    ("us_bank_account", "automatic"): {
        C.CHALLENGE: (C.PROCESS, C.FAIL_CHALLENGE, C.ABANDON),
        C.PROCESS: (C.SUCCEED, C.BOUNCE),
    },
}
_ANY_METHOD = {
    C.SUCCEED: (C.BOOK,), C.CAPTURE: (C.BOOK,), C.BOOK: (C.RELEASE,),
    C.DECLINE: _REFUSED, C.FAIL_CHALLENGE: _REFUSED, C.BOUNCE: _REFUSED,
}  # fmt: skip


@dataclass(frozen=True)
class History:
    """What happens to one payment at its provider, in this order."""

    changes: tuple[Change, ...]
    method: str = "card"
    capture_method: str = "automatic"
    captured: int = AMOUNT

    def __str__(self) -> str:
        how = f"{self.method}, {self.capture_method}" + (f", {self.captured} of {AMOUNT}" * (self.captured < AMOUNT))
        return f"{how}: {' -> '.join(self.changes)}"

    def upto(self, length: int) -> History:
        return replace(self, changes=self.changes[:length])

    def must_be_seen(self, index: int) -> bool:
        """Nothing in the later object shows that this change ever was; the next one follows only when we know of it.

        A challenge leaves its trace on a card's charge. It leaves none on a bank debit, which the payer verifies where
        we sent him, and none on an object without a charge, which we cancel by an operation that waits for the first.
        """
        if self.changes[index] is not C.CHALLENGE or index + 1 == len(self.changes):
            return False
        return self.method != "card" or self.changes[index + 1] is C.ABANDON


def following(history: History) -> tuple[Change, ...]:
    """What can happen next."""
    kind = (history.method, history.capture_method)
    if not history.changes:
        return FIRST[kind]
    last = history.changes[-1]
    return NEXT[kind].get(last, ()) + _ANY_METHOD.get(last, ())


def all_histories(kind: tuple[str, str], longest: int, *, captured: int = AMOUNT) -> list[History]:
    """Every history of this method and capture method that has ended, or has this many changes."""
    found, open_ones = [], [History((), *kind, captured)]
    while open_ones:
        history = open_ones.pop()
        after = following(history)
        if not after or len(history.changes) == longest:
            found.append(history)
        else:
            open_ones += [replace(history, changes=(*history.changes, change)) for change in after]
    return sorted(found, key=str)


# -- what the provider says ---------------------------------------------------------------------------------------


def snapshots(history: History, payment: Mapping[str, Any]) -> list[Snapshot]:
    """What a fetch reads before the first change, and after each."""
    said = [
        Snapshot(
            provider=payment["provider"],
            account=payment["provider_account"],
            ref=payment["provider_ref"],
            status=ProviderStatus.CREATED,
            currency=payment["currency"],
            amount=payment["amount"],
        )
    ]
    for index in range(len(history.changes)):
        said.append(_after(history, index, said[-1]))
    return said


def _after(history: History, index: int, before: Snapshot) -> Snapshot:
    change = history.changes[index]
    card = history.method == "card"
    charge = {"charge_ref": before.ref.replace("pi_", "ch_" if card else "py_")}
    # a card's charge tells that its payer was challenged
    charged = {**charge, "action_taken": card and C.CHALLENGE in history.changes[:index]}
    canceled = {"status": ProviderStatus.CANCELED, "closed": True, "amount_capturable": 0}
    refused = {"status": ProviderStatus.FAILED}
    says: dict[Change, dict[str, Any]] = {
        C.CHALLENGE: {
            "status": ProviderStatus.ACTION_REQUIRED,
            "next_action": NextAction("redirect", "https://bank.example/3ds"),
        },
        C.PROCESS: {"status": ProviderStatus.PROCESSING, **charge},
        C.HOLD: {
            "status": ProviderStatus.CAPTURABLE, "amount_capturable": AMOUNT, "amount_authorized": AMOUNT,
            "capture_before": THEN, **charged,
        },
        C.SUCCEED: {
            "status": ProviderStatus.SUCCEEDED, "amount_captured": AMOUNT, "amount_authorized": AMOUNT, **charged,
        },
        C.CAPTURE: {
            "status": ProviderStatus.SUCCEEDED, "amount_captured": history.captured, "amount_capturable": 0,
            "capture_before": None,
        },
        C.BOOK: {"facts": (_line(history, "pending", before),)},
        C.RELEASE: {"facts": (_line(history, "available", before),)},
        C.DECLINE: {**refused, **charged, "failure_code": "card_declined", "failure_message": "Declined."},
        C.FAIL_CHALLENGE: {**refused, "action_taken": card, "failure_code": "not_authenticated"},
        C.BOUNCE: {**refused, "failure_code": "insufficient_funds", "failure_retryable": True},
        C.EXPIRE: {**canceled, "cancel_reason": "authorization_expired"},
        C.VOID: {**canceled, "cancel_reason": "requested"},
        C.ABANDON: {**canceled, "cancel_reason": "abandoned"},
        C.CLOSE: {"closed": True},
    }  # fmt: skip
    return replace(before, **{"next_action": None, **says[change]})


def _line(history: History, status: str, snapshot: Snapshot) -> Fact:
    amount = snapshot.amount_captured
    fee = amount // 100
    return Fact(
        ref=snapshot.ref.replace("pi_", "txn_"),
        kind="charge" if history.method == "card" else "payment",
        source_ref=snapshot.charge_ref,
        currency=snapshot.currency,
        gross=amount,
        fee=fee,
        net=amount - fee,
        status=status,
        available_on=THEN,
        created_at=THEN,
    )


# -- what must be told --------------------------------------------------------------------------------------------

_TELLS: dict[Change, tuple[str, str]] = {
    C.CHALLENGE: ("requires_action", "payment.requires_action"),
    C.HOLD: ("authorized", "payment.authorized"),
    C.SUCCEED: ("confirmed", "payment.confirmed"),
    C.CAPTURE: ("confirmed", "payment.confirmed"),
    C.RELEASE: ("settled", "payment.settled"),
    C.DECLINE: ("failed", "payment.failed"),
    C.FAIL_CHALLENGE: ("failed", "payment.failed"),
    C.BOUNCE: ("failed", "payment.failed"),
    C.EXPIRE: ("canceled", "payment.canceled"),
    C.VOID: ("canceled", "payment.canceled"),
    C.ABANDON: ("canceled", "payment.canceled"),
}


@dataclass(frozen=True)
class Told:
    """How a payment ends, and its events in order."""

    state: str
    topics: tuple[str, ...]
    amount_authorized: int | None
    amount_captured: int
    failure_code: str | None
    cancel_reason: str | None


def told(history: History) -> Told:
    """What merchants must be told of this history, whoever learned of it when."""
    state = "submitted"
    topics = ["payment.initiated", "payment.submission_started", "payment.provider_submitted"]
    authorized, captured, failure, reason = None, 0, None, None
    for change in history.changes:
        if change is C.PROCESS and state == "requires_action":
            state = "submitted"
            topics.append("payment.action_completed")
        elif change in _TELLS:
            state, topic = _TELLS[change]
            topics.append(topic)
        if change is C.HOLD:
            authorized = AMOUNT
        if change in (C.SUCCEED, C.CAPTURE):
            captured = history.captured
        failure = _FAILURES.get(change, failure)
        reason = _REASONS.get(change, reason)
    return Told(state, tuple(topics), authorized, captured, failure, reason)


_FAILURES = {C.DECLINE: "card_declined", C.FAIL_CHALLENGE: "not_authenticated", C.BOUNCE: "insufficient_funds"}
_REASONS = {C.EXPIRE: "authorization_expired", C.VOID: "requested", C.ABANDON: "abandoned"}
