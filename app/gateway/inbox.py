"""Where the webhooks of a provider account come in: those of one moment are stored together, or refused together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from app.db import Database
from app.db.pool import Row
from app.errors import NotFound
from app.gateway.together import Together
from app.model.actor import Actor, ActorType, Role
from app.providers.protocol import Provider
from app.services import webhooks

Event = Mapping[str, object]
Refused = tuple[Actor, str]


class Inbox:
    """One per process and account. Stripe sends in bursts, a stranger as fast as he can: each uses one connection."""

    def __init__(self, provider: Provider, database: Database) -> None:
        self.provider = provider
        self.who = f"webhook:{provider.name}/{provider.account}"
        self._database = database
        self._account = {"provider": provider.name, "account": provider.account}
        self.events: Together[Event, Row] = Together(self.store)
        self.refusals: Together[Refused, bool] = Together(self._reject)

    def read(self, raw: bytes, headers: Mapping[str, str], *, request_id: str, trace_id: str) -> Event:
        """What a body says, once its signature is verified, and which request told it. Raises WebhookRefused."""
        event = self.provider.parse_webhook(raw, headers, now=datetime.now(UTC))
        digest = hashlib.sha256(raw).hexdigest()
        return webhooks.received(event, body_sha256=digest, request_id=request_id, trace_id=trace_id)

    def receive(self, event: Event) -> bool:
        """True when the event is new, False when it was stored before; made by `read`.

        It is committed then. Raises NotFound when nobody owns the account, and whatever it was refused for.
        """
        return webhooks.is_new(self.events.do(event))

    def refuse(self, actor: Actor, reason: str) -> None:
        """Count a webhook that was not believed; it is counted then. Raises NotFound when nobody owns the account."""
        if not self.refusals.do((actor, reason)):
            raise NotFound()

    def store(self, events: Sequence[Event]) -> list[Row]:
        """All of them in one transaction, or none: a row for each, which `services.webhooks.is_new` reads."""
        # in one order everywhere: two processes that are told the same events at once never wait for each other
        order = sorted(range(len(events)), key=lambda index: str(events[index]["provider_event_id"]))
        # it writes for many requests, and each event names its own
        actor = Actor(ActorType.API, self.who, Role.API)
        rows = webhooks.receive(self._database, actor, **self._account, events=[events[index] for index in order])
        return [row for _, row in sorted(zip(order, rows, strict=True), key=lambda found: found[0])]

    def _reject(self, refused: Sequence[Refused]) -> list[bool]:
        """All of them are one row, which names the first; False when nobody owns the account."""
        (actor, reason), count = refused[0], len(refused)
        try:
            self._database.transact(actor, lambda tx: webhooks.reject(tx, **self._account, reason=reason, count=count))
        except NotFound:
            return [False] * count
        return [True] * count
