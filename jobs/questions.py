"""What is asked of a provider to see one payment whole: its object, then its disputes and refunds, one GET each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from app.db import Tx
from app.model.outcome import Ok
from app.model.snapshot import ProviderStatus, Snapshot
from app.providers.protocol import Provider, ProviderRequest, Step
from app.services import operations
from app.services.operations import OpenCall

# A list is cut into pages of a hundred; a payment with more refunds than these hold is beyond any we know.
PAGES_PER_LIST = 10


@dataclass(frozen=True)
class Question:
    """One GET of the series; `seen` is what the ones before it were told, None for the first."""

    step: Step = Step.FETCH
    seen: Snapshot | None = None
    starting_after: str | None = None
    page: int = 1


def open_question(
    tx: Tx,
    provider: Provider,
    question: Question,
    ids: dict[str, Any],
    *,
    ref: str,
    operation_id: str | None = None,
    lease_token: str | None = None,
) -> tuple[OpenCall, ProviderRequest]:
    """Write the question down, as one provider call of the payment in `ids`; an operation asks under its lease."""
    asked = {"metadata": ids, "starting_after": question.starting_after}
    request = provider.prepare(question.step, asked, ref=ref, key=None)
    opened = operations.open_call(
        tx,
        **ids,
        operation_id=operation_id,
        lease_token=lease_token,
        provider=provider.name,
        account=provider.account,
        step=question.step.value,
        attempt=None,
        method=request.method,
        path=request.path,
        idempotency_key=None,
        request=request.redacted,
        request_sha256=request.params_sha256,
    )
    return opened, request


def put_together(question: Question, answer: Ok) -> Snapshot:
    """What is known of the payment with this answer."""
    if question.seen is None:
        assert answer.snapshot is not None, f"a {question.step} answers with a snapshot"
        return answer.snapshot
    seen = question.seen
    if question.step is Step.LIST_DISPUTES:
        return replace(seen, disputes=(seen.disputes or ()) + answer.disputes)
    return replace(seen, refunds=(seen.refunds or ()) + answer.refunds)


def next_question(question: Question, answer: Ok, *, whole: bool) -> Question | None:
    """The question after this answer; None when the payment is seen as far as it is to be seen.

    A payment that took no money has neither refunds nor disputes. One that did is asked about both when its charge
    tells of any, or when `whole` says that there may be some that it does not tell of: a refund that failed.
    """
    seen = put_together(question, answer)
    if answer.next_page is not None:
        assert question.page < PAGES_PER_LIST, f"{seen.ref} has {PAGES_PER_LIST} pages of {question.step}"
        return Question(question.step, seen, answer.next_page, question.page + 1)
    match question.step:
        case Step.FETCH if seen.status is ProviderStatus.SUCCEEDED and (whole or seen.amount_refunded or seen.disputed):
            return Question(Step.LIST_DISPUTES, seen)
        case Step.LIST_DISPUTES:
            return Question(Step.LIST_REFUNDS, seen)
        case _:
            return None
