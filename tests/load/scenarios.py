"""What a gateway must stand: five times its capacity, and a neighbour who asks for ten times its share."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tests import factories
from tests.bench.http import Client
from tests.fixtures.database import KEY_PEPPER, Connection
from tests.load.client import Generator, Plan, Source
from tests.load.offer import Outcome, offer

# Starts the gateway with these settings and gives its port.
Serve = Callable[..., AbstractContextManager[int]]

# Closed loop, as many at once as a default deployment has threads (2 x 8).
CLIENTS = 16
# Before anything is measured: imports, pools, prepared statements.
WARM_UP_SECONDS = 2.0
# Five times what it can do, nearly all of it from one merchant.
OVERLOAD, GREEDY_SHARE = 5.0, 0.95
# Half of what it can do from a dozen merchants; the loud one asks for ten times a limit of a twentieth.
QUIET_LOAD, QUIET_MERCHANTS = 0.5, 12
LIMIT_SHARE, LOUDNESS = 0.05, 10
# Random arrivals below a limit must not meet it by chance.
BURST_SECONDS = 10
AMPLE = "1000000/1000000"


@dataclass(frozen=True)
class Place:
    """A database with merchants, and the way to serve it."""

    sql: Connection
    serve: Serve

    def merchants(self, count: int) -> list[str]:
        """A key each."""
        made = (factories.merchant(self.sql)["id"] for _ in range(count))
        return [factories.api_key(self.sql, merchant, pepper=KEY_PEPPER).text() for merchant in made]


def limits(read: str = AMPLE, write: str = AMPLE) -> dict[str, str]:
    return {
        f"POSTBOX_RATE_{scope}_{class_}": rate
        for scope in ("KEY", "MERCHANT")
        for class_, rate in (("READ", read), ("WRITE", write))
    }


def capacity(port: int, keys: list[str], kinds: tuple[str, ...], *, seconds: float) -> float:
    """Requests per second that CLIENTS keep-alive clients get done, each asking again when it has its answer."""
    maker = Generator(Plan(port, 0.0, 0.0, 0, []))
    turns, done, until = itertools.count(), itertools.count(), time.monotonic() + seconds

    def run() -> None:
        client = Client(port)
        while time.monotonic() < until:
            turn = next(turns)
            answer = client.send(maker._request(kinds[turn % len(kinds)], keys[turn % len(keys)]))
            assert answer.status in (200, 201), answer
            next(done)
        client.close()

    began = time.monotonic()
    threads = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return next(done) / (time.monotonic() - began)


def warm_up(place: Place, port: int, keys: list[str], kinds: tuple[str, ...]) -> None:
    """Imports, pools, prepared statements; and what autovacuum learns of new tables within a minute."""
    capacity(port, keys, kinds, seconds=WARM_UP_SECONDS)
    place.sql.execute("analyze")


def overload(place: Place, *, seconds: float, measured_for: float) -> tuple[dict[str, Any], Outcome]:
    """Peak first, closed loop; then OVERLOAD times it, open loop, with the peak as the limit of each merchant.

    The peak is measured again afterwards, among as many payments as there are by then, and is the mean of the two.
    """
    greedy, *others = place.merchants(6)

    def closed_loop() -> float:
        with place.serve(**limits()) as port:
            warm_up(place, port, others, ("write",))
            return capacity(port, others, ("write",), seconds=measured_for)

    before = closed_loop()
    rate = max(1, round(before))
    with place.serve(**limits(write=f"{rate}/{rate}")) as port:
        warm_up(place, port, others, ("write",))
        sources = [Source("greedy", greedy, writes=OVERLOAD * before * GREEDY_SHARE)]
        sources += [
            Source(f"other {n}", key, writes=OVERLOAD * before * (1 - GREEDY_SHARE) / len(others))
            for n, key in enumerate(others)
        ]
        outcome = offer(port, sources, seconds=seconds)
    peak = ((after := closed_loop()) + before) / 2
    found = {
        "peak writes/s before and after": [round(before, 1), round(after, 1)],
        "peak writes/s": round(peak, 1),
        "offered writes/s": round(outcome.offered, 1),
        "goodput writes/s": round(outcome.goodput, 1),
        "goodput of the peak": round(outcome.goodput / peak, 3),
        "answers": outcome.statuses,
        "p50 and p99 of what was done, ms": [outcome.milliseconds(0.5), outcome.milliseconds(0.99)],
        "misbehaved": len(outcome.misbehaved),
        "acknowledged": len(outcome.done),
        "acknowledged and lost": lost(place.sql, outcome),
    }
    return found, outcome


def lost(sql: Connection, outcome: Outcome) -> int:
    """Acknowledged payments that are not there once, with their event and its delivery."""
    told = [result.payment for result in outcome.done if result.payment]
    assert len(told) == len(set(told)), "two answers name one payment"
    row = sql.execute(
        """
        select count(*) as kept from unnest(%s::uuid[]) told (id)
        where (select count(*) from payments p where p.id = told.id) = 1
          and exists (select from events e join deliveries d using (merchant_id) where e.payment_id = told.id
                      and e.topic = 'payment.initiated' and d.event_id = e.id)
        """,
        [[payment.removeprefix("pay_") for payment in told]],
    ).fetchone()
    assert row is not None, "an aggregate always returns a row"
    return len(told) - int(row["kept"])


def neighbour(place: Place, *, seconds: float, measured_for: float) -> tuple[dict[str, Any], Outcome, Outcome]:
    """The same minute twice, the same arrivals of the quiet ones: without the loud one, and with him."""
    loud, *quiet = place.merchants(1 + QUIET_MERCHANTS)
    with place.serve(**limits()) as port:
        warm_up(place, port, quiet, ("read", "write"))
        most = capacity(port, quiet, ("read", "write"), seconds=measured_for)
    rate = max(1, round(most / 2 * LIMIT_SHARE))
    each = QUIET_LOAD * most / 2 / QUIET_MERCHANTS
    steady = [Source("quiet", key, reads=each, writes=each) for key in quiet]
    noise = Source("loud", loud, reads=LOUDNESS * rate, writes=LOUDNESS * rate)
    limit = f"{rate}/{rate * BURST_SECONDS}"
    with place.serve(**limits(read=limit, write=limit)) as port:
        capacity(port, place.merchants(CLIENTS), ("read",), seconds=0.5)
        offer(port, steady, seconds=WARM_UP_SECONDS, seed=2)
        without = offer(port, steady, seconds=seconds)
        together = offer(port, [*steady, noise], seconds=seconds)
    before, after = without.of(source="quiet"), together.of(source="quiet")
    found: dict[str, Any] = {
        "capacity, half reads and half writes, /s": round(most, 1),
        "limit of a merchant, /s": rate,
    }
    for kind in ("read", "write"):
        p99 = [outcome.of(kind=kind).milliseconds(0.99) for outcome in (before, after)]
        found[f"p99 of the others' {kind}s without and with, ms"] = p99
        found[f"{kind}s: times"] = round(p99[1] / p99[0], 2)
    found["others' answers with"] = after.statuses
    found["the loud one's answers"] = together.of(source="loud").statuses
    found["misbehaved"] = len(together.misbehaved)
    return found, without, together
