"""Stores what a provider told us once, and counts what was refused; acting on it is a handler's work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from uuid import UUID

from app.db import Database, Tx
from app.db.pool import Row
from app.errors import IllegalTransition, NotFound
from app.model.actor import Actor
from app.model.webhook_event import WebhookEvent
from app.services import dead_letters


def receive(
    database: Database, actor: Actor, *, provider: str, account: str, events: Sequence[Mapping[str, object]]
) -> list[Row]:
    """Store events of one account, made by `received`, in a transaction of their own, which takes one round trip.

    A row for each, which `is_new` reads.
    """
    return database.statement(actor, "webhooks.store", provider=provider, account=account, events=json.dumps(events))


def received(event: WebhookEvent, *, body_sha256: str, request_id: str, trace_id: str) -> dict[str, object]:
    """The event as `receive` takes it, with the request that told it."""
    return _columns(event, body_sha256, "webhook") | {"request_id": request_id, "trace_id": trace_id}


def store(tx: Tx, event: WebhookEvent, *, body_sha256: str, received_by: str = "webhook") -> bool:
    """True when the event is new, False when it was stored before. Raises NotFound when nobody owns the account."""
    events = json.dumps([_columns(event, body_sha256, received_by)])
    row = tx.one("webhooks.store", provider=event.provider, account=event.account, events=events)
    assert row is not None, "every event is answered"
    return is_new(row)


def is_new(row: Row) -> bool:
    """Whether the event of this row is new, or was stored before. Raises NotFound when nobody owns its account."""
    if row["owner"] is None:
        raise NotFound()
    return bool(row["stored"])


def _columns(event: WebhookEvent, body_sha256: str, received_by: str) -> dict[str, object]:
    """What the body claims of our ids is a hint for the handler, which looks for itself."""
    return {
        "provider_event_id": event.event_id,
        "type": event.type,
        "object_id": event.object_id,
        "payment_ref": event.payment_ref,
        "payment_id": event.payment_id,
        "payment_merchant_id": event.merchant_id,
        "api_version": event.api_version,
        "livemode": event.livemode,
        "created_at_provider": event.created_at.isoformat(),
        "payload": dict(event.payload),
        "body_sha256": body_sha256,
        "received_by": received_by,
    }


def store_polled(tx: Tx, events: Sequence[WebhookEvent]) -> int:
    """Store the events of a list that no webhook has told, in the inbox that webhooks fill; how many those were.

    Their webhooks are awaited from then on: one that stays away for too long is a discrepancy until it comes.
    """
    if not events:
        return 0
    whose = {"provider": events[0].provider, "account": events[0].account}
    known = tx.all("webhooks.known", **whose, event_ids=[event.event_id for event in events])
    told = {row["provider_event_id"] for row in known}
    missing = [event for event in events if event.event_id not in told]
    # in the order of the gateway, which may be told of the same ones now: neither waits for the other
    for event in sorted(missing, key=lambda event: event.event_id):
        # there are no original bytes: what stands for them is the object as the list showed it
        text = json.dumps(event.payload, sort_keys=True, separators=(",", ":"))
        store(tx, event, body_sha256=hashlib.sha256(text.encode()).hexdigest(), received_by="poll")
    tx.run("webhooks.await", **whose, event_ids=[event.event_id for event in missing])
    return len(missing)


def reject(tx: Tx, *, provider: str, account: str, reason: str, count: int = 1) -> None:
    """Count refusals in this second of this account. Raises NotFound when nobody owns the account."""
    owner = _act_for_owner(tx, provider, account)
    tx.run("webhooks.reject", owner=owner, provider=provider, account=account, reason=reason, count=count)


def _act_for_owner(tx: Tx, provider: str, account: str) -> UUID:
    """Who owns the account, the platform when it is shared; the transaction acts for them from here on."""
    row = tx.one("webhooks.act_for_owner", provider=provider, account=account)
    if row is None:
        raise NotFound()
    owner: UUID = row["owner"]
    return owner


def replay(tx: Tx, webhook: Row, *, by: str, reason: str) -> None:
    """Have it handled again, dead letter or done. `webhook`: a row of operator_pages. Raises IllegalTransition."""
    if webhook["status"] == "dead":
        letter = {name: webhook[name] for name in ("merchant_id", "event_id", "handler")}
        replayed = dead_letters.replay(tx, letter, by=by, reason=reason)
    else:
        row = tx.one("webhooks.replay", merchant_id=webhook["merchant_id"], webhook_id=webhook["id"])
        replayed = bool(row and row["replayed"])
    if not replayed:
        raise IllegalTransition("This webhook waits to be handled anyway, or was discarded.")


def prospect(webhook: Row) -> str:
    """What a replay of this row of operator_pages would do, going by how its delivery stands now."""
    if webhook["status"] is None:
        return "nothing: no handler is subscribed to it"
    if webhook["status"] == "pending":
        return "nothing: it waits to be handled anyway"
    return "fetches the object and applies what it says" + (", as a dead letter" if webhook["status"] == "dead" else "")
