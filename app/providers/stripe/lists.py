"""Stripe's lists and its balance: which page to ask for, and what it says; reads, never decides."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from app.errors import Invalid
from app.model.outcome import Ok
from app.model.provider_book import Balance, Line, Payout
from app.providers.protocol import Step
from app.providers.stripe.currencies import InexactAmount, from_stripe
from app.providers.stripe.fields import Unreadable
from app.providers.stripe.redaction import redact_text
from app.providers.stripe.snapshots import our_ids, read_balance_transaction
from app.providers.stripe.webhooks import read_event

# https://docs.stripe.com/api/pagination: the most a page can hold.
PAGE = 100
# https://docs.stripe.com/api/payouts/object#payout_object-status
PAYOUT_STATUS = frozenset({"pending", "in_transit", "paid", "failed", "canceled"})

_REF = re.compile(r"[A-Za-z0-9_]{1,255}")

Asked = Mapping[str, object]
Json = dict[str, Any]


def _list(asked: Asked) -> Json:
    params: Json = {"limit": PAGE}
    if asked.get("created_after") is not None:
        params["created"] = {"gte": asked["created_after"]}
    if asked.get("starting_after") is not None:
        params["starting_after"] = asked["starting_after"]
    return params


def _lines(asked: Asked) -> Json:
    return _list(asked) | {"expand": ["data.source"]}


def _payout_lines(asked: Asked) -> Json:
    if not isinstance(asked.get("payout"), str):
        raise Invalid("the lines of which payout?")
    return _lines(asked) | {"payout": asked["payout"]}


# step -> path, with the reference where it takes one, and its parameters
REQUESTS: dict[Step, tuple[str, Callable[[Asked], Json]]] = {
    Step.LIST_EVENTS: ("/v1/events", _list),
    Step.LIST_LINES: ("/v1/balance_transactions", _lines),
    Step.LIST_PAYOUT_LINES: ("/v1/balance_transactions", _payout_lines),
    Step.FETCH_PAYOUT: ("/v1/payouts/{ref}", lambda asked: {}),
    Step.FETCH_BALANCE: ("/v1/balance", lambda asked: {}),
}


def read_answer(step: Step, body: object, *, account: str, ref: str | None) -> Ok:
    """What the answer to `step` says. Raises Unreadable."""
    if step is Step.FETCH_BALANCE:
        return Ok(snapshot=None, balances=read_balances(body))
    if step is Step.FETCH_PAYOUT:
        payout = read_payout(body)
        if payout.ref != ref:
            raise Unreadable(f"asked about {ref}, told about {payout.ref}")
        return Ok(snapshot=None, payout=payout)
    page = body if isinstance(body, dict) else {}
    items, more = page.get("data"), page.get("has_more")
    if page.get("object") != "list" or not isinstance(items, list) or not isinstance(more, bool):
        raise Unreadable("expected a list")
    last = items[-1].get("id") if more and items and isinstance(items[-1], dict) else None
    if more and not isinstance(last, str):
        raise Unreadable("a list that goes on after nothing")
    if step is Step.LIST_EVENTS:
        told = tuple(read_event(item, account) for item in items if isinstance(item, dict))
        return Ok(snapshot=None, events=told, next_page=last)
    return Ok(snapshot=None, lines=tuple(read_line(item) for item in items), next_page=last)


def read_line(body: object) -> Line:
    """One balance transaction with its source expanded: a charge, a refund or a dispute names its payment."""
    found = body if isinstance(body, dict) else {}
    source = found.get("source")
    source = source if isinstance(source, dict) else {}
    ids = our_ids(source)
    intent = source.get("payment_intent")
    return Line(
        fact=read_balance_transaction(body),
        payment_ref=intent if isinstance(intent, str) else None,
        payment_id=ids["payment_id"],
        merchant_id=ids["merchant_id"],
    )


def read_payout(body: object) -> Payout:
    if not isinstance(body, dict) or body.get("object") != "payout":
        raise Unreadable("expected a payout")
    ref, status, currency = body.get("id"), body.get("status"), body.get("currency")
    if not isinstance(ref, str) or not _REF.fullmatch(ref):
        raise Unreadable("a payout without a usable id")
    if status not in PAYOUT_STATUS or not isinstance(currency, str):
        raise Unreadable(f"a payout with the status {redact_text(str(status))!r}")
    destination, code = body.get("destination"), body.get("failure_code")
    return Payout(
        ref=ref,
        status=status,
        currency=currency.lower(),
        amount=_amount(body.get("amount"), currency),
        created_at=_time(body.get("created")),
        arrives_at=_time(body.get("arrival_date")),
        automatic=body.get("automatic") is True,
        # absent before Stripe knew it: then automatic ones are itemised once they are on their way
        itemised=body.get("automatic") is True and body.get("reconciliation_status") == "completed",
        destination=redact_text(destination) if isinstance(destination, str) else None,
        failure_code=redact_text(code) if isinstance(code, str) and status == "failed" else None,
    )


def read_balances(body: object) -> tuple[Balance, ...]:
    if not isinstance(body, dict) or body.get("object") != "balance":
        raise Unreadable("expected a balance")
    sums: dict[str, dict[str, int]] = {}
    for part in ("pending", "available"):
        items = body.get(part)
        if not isinstance(items, list):
            raise Unreadable(f"a balance without {part}")
        for item in items:
            currency = str(item.get("currency", "")).lower()
            sums.setdefault(currency, {"pending": 0, "available": 0})[part] += _amount(item.get("amount"), currency)
    return tuple(Balance(currency, **parts) for currency, parts in sorted(sums.items()))


def stored_page(body: object) -> Json | None:
    """What is kept of a page as evidence: which objects were on it. They are stored one by one, as rows."""
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        return None
    ids = [item.get("id") for item in body["data"] if isinstance(item, dict)]
    return json.loads(json.dumps({"object": "list", "has_more": body.get("has_more"), "ids": ids}))  # type: ignore[no-any-return]


def _amount(value: object, currency: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable("an amount that is no integer")
    try:
        return from_stripe(value, currency)
    except InexactAmount as error:
        raise Unreadable(str(error)) from error


def _time(value: object) -> datetime:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable("a time that is none")
    return datetime.fromtimestamp(value, UTC)
