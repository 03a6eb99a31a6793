"""One payment on real PostgreSQL to which the real apply_snapshot applies what a history's provider says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import Any

import psycopg

from app.config import Timing
from app.db import Tx
from app.services.snapshots import Applied, apply_snapshot
from tests import factories
from tests.jobs.provider_history import AMOUNT, History, Told, snapshots

TIMING = Timing()

# All that merchants, operators and later decisions see of a payment, except times and counters: how often a payment was
# looked at is no part of its story. `capture_before` is left out: it says nothing once nothing is held.
TOLD = """
select jsonb_build_object(
  'state', p.state,
  'amounts', jsonb_build_object('authorized', p.amount_authorized, 'captured', p.amount_captured,
    'refunded', p.amount_refunded, 'refund_pending', p.amount_refund_pending, 'disputed', p.amount_disputed,
    'lost', p.amount_lost),
  'facts', jsonb_build_object('rank', p.provider_rank, 'ref', p.provider_ref, 'charge', p.latest_charge_ref,
    'action', p.next_action_type, 'action_url', p.next_action_url, 'failure', p.failure_code,
    'failure_message', p.failure_message, 'failure_retryable', p.failure_retryable, 'cancel_reason', p.cancel_reason,
    'expires', p.action_expires_at is not null, 'submitted', p.submitted_at is not null,
    'action_required', p.action_required_at is not null, 'confirmed', p.confirmed_at is not null,
    'settled', p.settled_at is not null, 'money_after_final', p.money_after_final_at is not null),
  'lines', (select coalesce(jsonb_agg(jsonb_build_array(t.ref, t.kind, t.status, t.gross, t.fee, t.net)), '[]')
    from provider_transactions t where t.merchant_id = p.merchant_id and t.payment_id = p.id),
  'events', (select jsonb_agg(jsonb_build_array(e.topic, e.payload - 'version') order by e.payment_version, e.id)
    from events e where e.merchant_id = p.merchant_id and e.payment_id = p.id and e.topic like 'payment.%%')
)::text as told, p.state
from payments p where p.merchant_id = %(merchant_id)s and p.id = %(id)s
"""

Connection = psycopg.Connection[dict[str, Any]]


class Observed:
    """A payment whose submit is under way, its provider reference committed; `conn` acts as a webhook from then on."""

    def __init__(self, conn: Connection, history: History, *, checks_version: bool = True) -> None:
        self.conn = conn
        self.tx = Tx(conn)
        self.checks_version = checks_version
        self.row = factories.payment(
            conn, "submitting", method=history.method, capture_method=history.capture_method, amount=AMOUNT
        )
        self.ids = {"merchant_id": self.row["merchant_id"], "payment_id": self.row["id"]}
        self.row["provider_ref"] = factories.provider_ref(self.row)
        factories.act(conn, "webhook")
        self.tx.run("payments.set_provider_ref", **self.ids, provider_ref=self.row["provider_ref"])
        self.snapshots = snapshots(history, self.row)

    def version(self) -> int:
        return int(self.tx.one("payments.observed_version", **self.ids)["observed_version"])  # type: ignore[index]

    def state(self) -> str:
        return str(self._told()["state"])

    def told(self) -> str:
        return str(self._told()["told"])

    def _told(self) -> dict[str, Any]:
        row = self.conn.execute(TOLD, self.row).fetchone()
        assert row is not None
        return row

    def undone(self) -> AbstractContextManager[object]:
        return self.conn.transaction(force_rollback=True)

    def apply(self, seen: int, version: int | None) -> bool:
        return self.observe(seen, version).outdated

    def observe(self, seen: int, version: int | None) -> Applied:
        """Apply what the provider says after `seen` changes; without the check every version is the right one."""
        if version is not None and not self.checks_version:
            version = self.version()
        return apply_snapshot(
            self.tx,
            self.ids["merchant_id"],
            self.ids["payment_id"],
            self.snapshots[seen],
            observed_version=version,
            timing=TIMING,
        )

    def told_in_time(self) -> str:
        """How it ends when each change is fetched and applied before the next."""
        with self.undone():
            for seen in range(1, len(self.snapshots)):
                assert not self.apply(seen, self.version())
            return self.told()


def as_told(text: str) -> dict[str, Any]:
    """What an Observed tells, reduced to what the plain state machine knows."""
    found = json.loads(text)
    return {
        "state": found["state"],
        "topics": tuple(topic for topic, _ in found["events"]),
        "amount_authorized": found["amounts"]["authorized"],
        "amount_captured": found["amounts"]["captured"],
        "failure_code": found["facts"]["failure"],
        "cancel_reason": found["facts"]["cancel_reason"],
    }


def plain(told: Told) -> dict[str, Any]:
    return asdict(told)


class Remembered:
    """An Observed that runs nothing twice: what a snapshot does to a payment hangs on what the payment tells, on the
    snapshot, and on whether its version is still the payment's. Every pair of these that occurs is run for real once.
    """

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.runs = 0
        self._told, self._state = observed.told(), observed.state()
        self._version = observed.version()
        # how to get to what is told: the snapshots to apply, each as (seen, with a version)
        self._way: dict[str, tuple[tuple[int, bool], ...]] = {self._told: ()}
        self._known: dict[tuple[str, int, str], tuple[str, str, bool]] = {}

    def version(self) -> int:
        return self._version

    def state(self) -> str:
        return self._state

    def told(self) -> str:
        return self._told

    @contextmanager
    def undone(self) -> Iterator[None]:
        before = self._told, self._state, self._version
        try:
            yield
        finally:
            self._told, self._state, self._version = before

    def apply(self, seen: int, version: int | None) -> bool:
        carries = "nothing" if version is None else "current" if version == self._version else "outdated"
        key = (self._told, seen, carries)
        if key not in self._known:
            self._known[key] = self._run(seen, carries)
        self._told, self._state, outdated = self._known[key]
        self._version += not outdated
        return outdated

    def _run(self, seen: int, carries: str) -> tuple[str, str, bool]:
        self.runs += 1
        observed = self.observed
        with observed.undone():
            for earlier, versioned in self._way[self._told]:
                assert not observed.apply(earlier, observed.version() if versioned else None)
            now = observed.version()
            outdated = observed.apply(seen, {"nothing": None, "current": now, "outdated": now - 1}[carries])
            told, state = observed.told(), observed.state()
        if not outdated:
            self._way.setdefault(told, (*self._way[self._told], (seen, carries != "nothing")))
        return told, state, outdated
