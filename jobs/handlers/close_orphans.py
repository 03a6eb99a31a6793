"""operation.create_repeated: an earlier create may have left an object; what is not the payment's own is closed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.db import Tx
from app.model.outcome import Ok, Refused, Reply
from app.model.states import State
from app.providers.protocol import ProviderRequest, Step
from app.services import circuits, operations
from app.services.operations import OpenCall
from jobs.decide import close_orphan
from jobs.handlers.handler import RemoteHandler
from jobs.observe import FetchRefused, wait_for_answer
from jobs.run import Run

# The provider's clock and ours differ by less.
CLOCKS_DIFFER = timedelta(minutes=5)
# A list is cut into pages of a hundred; what lies beyond these is left to the webhooks of its own creation.
PAGES_PER_RUN = 20
# Here the payment's own object is still to come: until it is known, nothing can be told from it.
UNDER_WAY = frozenset({State.SUBMITTING, State.OUTCOME_UNKNOWN})


@dataclass(frozen=True)
class Page:
    """One page of the provider's list, written down and ready to be asked for."""

    open: OpenCall
    request: ProviderRequest
    operation: dict[str, Any]
    number: int = 1


def handle(run: Run) -> None:
    page = run.begin(lambda tx: claim_search(run, tx))
    while page is not None:
        page = _ask(run, page)


def claim_search(run: Run, tx: Tx) -> Page | None:
    """The first page; None, and deferred, while the payment's own object is not known or the circuit is open."""
    ids = {"merchant_id": run.delivery["merchant_id"], "payment_id": run.delivery["payment_id"]}
    payment = tx.one("payments.find_by_id", **ids)
    assert payment is not None, "an operation belongs to a payment"
    if payment["provider_ref"] is None and payment["state"] in UNDER_WAY:
        run.defer(tx, run.runtime.timing.not_there_yet, "not_there_yet")
        return None
    provider, timing = run.runtime.provider, run.runtime.timing
    wait = circuits.admission_wait(tx, provider.name, provider.account, timing)
    if wait > 0:
        run.defer(tx, wait, "circuit_open")
        return None
    operation = tx.one("operations.lock", merchant_id=ids["merchant_id"], operation_id=run.delivery["operation_id"])
    assert operation is not None, "the event names its operation"
    return _open(run, tx, operation, starting_after=None, number=1)


def _open(run: Run, tx: Tx, operation: dict[str, Any], *, starting_after: str | None, number: int) -> Page:
    provider = run.runtime.provider
    asked = {
        "metadata": operation["params"]["metadata"],
        "created_after": (operation["created_at"] - CLOCKS_DIFFER).isoformat(),
        "starting_after": starting_after,
    }
    request = provider.prepare(Step.LIST_RECENT, asked, ref=None, key=None)
    opened = operations.open_call(
        tx,
        merchant_id=operation["merchant_id"],
        payment_id=operation["payment_id"],
        operation_id=None,
        lease_token=None,
        provider=provider.name,
        account=provider.account,
        step=Step.LIST_RECENT.value,
        attempt=None,
        method=request.method,
        path=request.path,
        idempotency_key=None,
        request=request.redacted,
        request_sha256=request.params_sha256,
    )
    return Page(opened, request, operation, number)


def _ask(run: Run, page: Page) -> Page | None:
    reply = run.send(page.request)
    following = run.record(lambda tx: _record(run, tx, page, reply))
    if isinstance(reply.outcome, Refused):
        raise FetchRefused(f"{reply.outcome.code} for the list of recent objects")
    return following


def _record(run: Run, tx: Tx, page: Page, reply: Reply) -> Page | None:
    provider = run.runtime.provider
    operations.complete_call(tx, page.open, reply.outcome, reply.evidence, late=False)
    if not isinstance(reply.outcome, Ok):
        wait_for_answer(run, tx, reply.outcome)
        return None
    payment = tx.one(
        "payments.lock", merchant_id=page.operation["merchant_id"], payment_id=page.operation["payment_id"]
    )
    assert payment is not None, "an operation belongs to a payment"
    for found in reply.outcome.found:
        if found.ref != payment["provider_ref"] and not found.closed:
            close_orphan(tx, payment, found.ref)
    following = None
    if reply.outcome.next_page is not None and page.number < PAGES_PER_RUN:
        following = _open(run, tx, page.operation, starting_after=reply.outcome.next_page, number=page.number + 1)
    else:
        run.done(tx)
    circuits.close(tx, provider.name, provider.account)
    return following


HANDLER = RemoteHandler("close_orphans", handle)
