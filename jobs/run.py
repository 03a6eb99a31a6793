"""One run of one remote delivery: its claim, its transactions, and the one way it may end in each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from app.db import Tx
from app.db.pool import Timeouts
from app.model.actor import Actor, ActorType, Role
from app.model.outcome import Reply
from app.providers.protocol import ProviderRequest
from app.services import deliveries
from app.services.deliveries import DeliveryKey
from jobs.runtime import Runtime

log = structlog.get_logger()

T = TypeVar("T")

# With the longest call (3 s to connect, 20 s to read) still inside a lease (30 s). Who waits in vain for a lock is put
# off, and what takes longer by itself is a failure.
RECORDING = Timeouts(statement=5_000, lock=4_000)
# Whoever holds a delivery that is put off commits or is cut off before this: a job that ends while its delivery still
# names it is found by the walk over lost jobs alone.
PUTTING_OFF = Timeouts(statement=12_000, lock=11_000)


class Superseded(Exception):
    """The delivery is done, dead, or another job's: this wake-up has nothing to do."""


class Paused(Exception):
    """An operator has stopped what this delivery needs."""


class Run:
    """Handlers call `begin` once, then `transact`; `done`, `defer` or `bury` ends the run in its last transaction."""

    def __init__(self, runtime: Runtime, key: DeliveryKey, job_id: int, *, actor_type: ActorType) -> None:
        self.runtime = runtime
        self.key = key
        self.job_id = job_id
        self.delivery: dict[str, Any] = {}
        self.ended: str | None = None
        self._actor_type = actor_type

    @property
    def ids(self) -> dict[str, str]:
        """What this run is about, for the log; nothing before it has begun."""
        known = {name: self.delivery.get(name) for name in ("payment_id", "correlation_id", "caused_by")}
        return {name: str(value) for name, value in known.items() if value is not None}

    @property
    def actor(self) -> Actor:
        return Actor(
            self._actor_type,
            self.key.handler,
            Role.WORKER,
            correlation_id=self.delivery.get("correlation_id"),
            causation_id=self.key.event_id,
        )

    def begin(self, work: Callable[[Tx], T]) -> T:
        """Claim the delivery and do the first piece of work in one transaction. Raises Superseded or Paused."""

        def claimed(tx: Tx) -> T:
            row = deliveries.claim(tx, self.key, self.job_id)
            if row is None:
                raise Superseded
            self.delivery = row
            if row["paused"]:
                raise Paused
            return work(tx)

        return self.transact(claimed)

    def record(self, work: Callable[[Tx], T]) -> T:
        """One transaction for what a provider answered: it waits longer, because the answer comes only once."""
        return self.transact(work, timeouts=RECORDING)

    def send(self, request: ProviderRequest) -> Reply:
        """One HTTP call, with no transaction open; how it ends decides how many may be in flight."""
        began = time.monotonic()
        reply = self.runtime.provider.send(request)
        seconds = time.monotonic() - began
        self.runtime.flight.answered(reply.outcome, seconds)
        log.info(
            "provider call",
            **self.key.params(),
            **self.ids,
            provider=self.runtime.provider.name,
            step=request.step.value,
            outcome=type(reply.outcome).__name__,
            status=reply.evidence.http_status,
            provider_request_id=reply.evidence.provider_request_id,
            seconds=round(seconds, 6),
        )
        return reply

    def transact(self, work: Callable[[Tx], T], *, timeouts: Timeouts | None = None) -> T:
        """One transaction as this handler. A rerun forgets how the last try ended."""

        def fresh(tx: Tx) -> T:
            self.ended = None
            return work(tx)

        return self.runtime.database.transact(self.actor, fresh, timeouts=timeouts)

    def done(self, tx: Tx) -> None:
        deliveries.finish(tx, self.key)
        self.ended = "done"

    def defer(self, tx: Tx, seconds: float, why: str, *, capped: bool = True, longest: float | None = None) -> None:
        """Wait uncounted; the promoter enqueues the delivery again when it is due."""
        deliveries.defer(
            tx,
            self.key,
            self.job_id,
            seconds=seconds,
            why=why,
            timing=self.runtime.timing,
            capped=capped,
            longest=longest,
        )
        self.ended = "deferred"

    def leave(self, tx: Tx) -> None:
        """This worker is to end: another goes on at once, and if that is in days, nobody has waited for a provider."""
        self.defer(tx, 0.0, "draining", capped=False)

    def bury(self, tx: Tx, reason: str) -> None:
        deliveries.bury(tx, self.key, reason=reason)
        self.ended = "dead"
